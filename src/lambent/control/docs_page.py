"""The page that shows the API's description. It holds nothing of this server: it asks for a key."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Final

STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}
code,pre{background:#8882;padding:.1em .3em;border-radius:.2em}pre{padding:.6em;overflow:auto}
summary{cursor:pointer;padding:.3em 0}summary b{display:inline-block;width:5em}
details{border-bottom:1px solid #8883}input{width:32rem;max-width:100%;font:inherit}
"""
SCRIPT: Final = """
const form = document.querySelector("form"), list = document.querySelector("main");
function add(parent, tag, text) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  return parent.appendChild(made);
}
function show(method, path, operation) {
  const block = add(list, "details"), head = add(block, "summary");
  add(head, "b", method.toUpperCase());
  add(head, "code", path);
  add(head, "span", " " + operation.summary);
  add(block, "p", operation.description);
  for (const one of operation.parameters || [])
    add(block, "p", one.name + " (" + one.in + ", " + one.schema.type + ") " + (one.description || ""));
  const parts = {request: operation.requestBody, ...operation.responses};
  for (const [what, part] of Object.entries(parts)) {
    for (const [media, {schema}] of Object.entries((part || {}).content || {})) {
      add(block, "p", what + ": " + media);
      add(block, "pre", JSON.stringify(schema, null, 1));
    }
  }
}
async function load(key) {
  const answer = await fetch("openapi.json", {headers: {authorization: "Bearer " + key}});
  list.replaceChildren();
  if (!answer.ok) return add(list, "p", (await answer.json()).detail);
  sessionStorage.setItem("key", key);
  const everything = await answer.json();
  for (const [path, item] of Object.entries(everything.paths))
    for (const [method, operation] of Object.entries(item)) show(method, path, operation);
  const shapes = add(add(list, "details"), "summary", "Shapes").parentElement;
  for (const [name, schema] of Object.entries(everything.components.schemas)) {
    add(shapes, "h3", name);
    add(shapes, "pre", JSON.stringify(schema, null, 1));
  }
}
form.addEventListener("submit", event => { event.preventDefault(); load(form.key.value.trim()); });
if (sessionStorage.getItem("key")) load(sessionStorage.getItem("key"));
"""
PAGE: Final = f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Lambent control API</title><style>{STYLE}</style>
<h1>Control API</h1>
<form><label>Key <input name="key" type="password" autocomplete="off" placeholder="lk_..." required></label>
<button>Show</button></form>
<p>The description itself is at <code>/api/v1/openapi.json</code>.</p>
<main></main>
<script>{SCRIPT}</script></html>
"""
_DIGEST: Final = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
HEADERS: Final[Mapping[str, str]] = {
    # Only this script runs, and it talks to nobody but this server.
    "content-security-policy": (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{_DIGEST}'; "
        "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
}

"""What goes along with a target, and what is said before anything is sent."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from lambent.client.bundle import Bundle, pack, pack_for_command
from lambent.client.errors import BundleError


def write(root: Path, files: Mapping[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def names(bundle: Bundle) -> list[str]:
    return [member.path for member in bundle.archive.members]


MANIFEST = '[app]\ntarget = "app.py"\n'


def test_a_file_takes_along_what_it_imports_and_nothing_else(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "app.py": "import json\nimport shapes\nfrom tools.text import clean\n",
            "shapes.py": "def area():\n    import numbers_of\n",
            "numbers_of.py": "",
            "tools/__init__.py": "",
            "tools/text.py": "from . import words\nimport rules\n",
            "tools/words.json": "{}",
            "tools/__pycache__/text.cpython-311.pyc": "",
            "rules.py": "",
            "unrelated.py": "",
            "notes.txt": "",
        },
    )
    bundle = pack(tmp_path / "app.py")
    assert bundle.target == "app.py"
    assert names(bundle) == [
        "app.py",
        "numbers_of.py",
        "rules.py",
        "shapes.py",
        "tools/__init__.py",
        "tools/text.py",
        "tools/words.json",
    ]


def test_modules_that_import_each_other_are_taken_once(tmp_path: Path) -> None:
    write(tmp_path, {"app.py": "import one", "one.py": "import two", "two.py": "import one, app"})
    assert names(pack(tmp_path / "app.py")) == ["app.py", "one.py", "two.py"]


def test_a_package_goes_before_a_module_of_its_name(tmp_path: Path) -> None:
    write(tmp_path, {"app.py": "import a", "a.py": "", "a/__init__.py": ""})
    assert names(pack(tmp_path / "app.py")) == ["a/__init__.py", "app.py"]


def test_a_folder_without_init_is_a_package_too(tmp_path: Path) -> None:
    write(tmp_path, {"app.py": "import a.b", "a/b.py": "", "data/x.csv": ""})
    assert names(pack(tmp_path / "app.py")) == ["a/b.py", "app.py"]


def test_a_folder_of_data_is_not_a_package(tmp_path: Path) -> None:
    write(tmp_path, {"app.py": "import numpy", "numpy/x.csv": ""})
    assert names(pack(tmp_path / "app.py")) == ["app.py"]


def test_the_object_is_part_of_the_target(tmp_path: Path) -> None:
    write(tmp_path, {"app.py": ""})
    assert pack(f"{tmp_path}/app.py:handler").target == "app.py:handler"
    assert pack(f"{tmp_path}/app.py:group.handler").target == "app.py:group.handler"


def test_a_target_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"app.py": "import one", "one.py": ""})
    monkeypatch.chdir(tmp_path)
    assert names(pack("app.py:handler")) == ["app.py", "one.py"]


def test_a_file_reached_by_a_link_is_packed_where_it_lives(tmp_path: Path) -> None:
    write(tmp_path, {"src/app.py": "import one", "src/one.py": ""})
    (tmp_path / "latest.py").symlink_to("src/app.py")
    assert names(pack(tmp_path / "latest.py")) == ["app.py", "one.py"]


def test_a_folder_takes_what_its_manifest_says(tmp_path: Path) -> None:
    manifest = """
[app]
target = "app.py:app"
include = ["*.py", "data/**"]
exclude = ["test_*", "data/raw"]

[deployments.digits]
memory = "256MiB"
keep_alive_s = 5
env = { MODE = "fast" }
"""
    write(
        tmp_path,
        {
            "lambent.toml": manifest,
            "app.py": "import tools",
            "tools/a.py": "",
            "tools/test_a.py": "",
            "data/small/x.csv": "",
            "data/raw/y.csv": "",
            "notes.md": "",
        },
    )
    bundle = pack(tmp_path)
    assert bundle.target == "app.py:app"
    assert names(bundle) == ["app.py", "data/small/x.csv", "tools/a.py"]
    assert bundle.per_deployment == {"digits": {"memory": "256MiB", "keep_alive_s": 5, "env.MODE": "fast"}}


def test_a_folder_leaves_out_what_nobody_deploys(tmp_path: Path) -> None:
    hidden = {".git/config": "", ".venv/x.py": "", ".env": "", "a/.hidden": "", "node_modules/x/y.js": ""}
    compiled = {"__pycache__/app.pyc": "", "b.pyc": "", "a/__pycache__/c.pyc": ""}
    write(tmp_path, {"lambent.toml": MANIFEST, "app.py": "", "a/b.txt": "", **hidden, **compiled})
    assert names(pack(tmp_path)) == ["a/b.txt", "app.py", "lambent.toml"]


def _bootstrap(folder: Path, mode: int = 0o755) -> Path:
    write(folder, {"bootstrap": "#!/bin/sh\n", "lib/words.txt": "a"})
    (folder / "bootstrap").chmod(mode)
    return folder


def test_a_folder_with_a_bootstrap_is_named_as_it_is(tmp_path: Path) -> None:
    bundle = pack(_bootstrap(tmp_path / "Order_Totals2"))
    assert (bundle.target, bundle.name) == ("bootstrap", "order-totals2")
    assert names(bundle) == ["bootstrap", "lib/words.txt"]
    assert [member.executable for member in bundle.archive.members] == [True, False]


def test_a_programs_packages_for_node_go_along(tmp_path: Path) -> None:
    packages = {"node_modules/x/index.js": "", "node_modules/x/node_modules/y/y.js": "", ".git/config": ""}
    folder = write(_bootstrap(tmp_path / "node"), packages)
    wanted = [name for name in packages if not name.startswith(".")]
    assert names(pack(folder)) == ["bootstrap", "lib/words.txt", *wanted]
    assert names(pack_for_command(folder)) == ["bootstrap", "lib/words.txt", *wanted]


def test_a_bootstrap_alone_is_named_as_its_folder(tmp_path: Path) -> None:
    bundle = pack(_bootstrap(tmp_path / "totals") / "bootstrap")
    assert (bundle.target, bundle.name, names(bundle)) == ("bootstrap", "totals", ["bootstrap"])


def test_a_manifest_may_say_what_a_bootstrap_is_told_of_its_handler(tmp_path: Path) -> None:
    manifest = '[app]\ntarget = "bootstrap:Totals::Totals.Function::Sum"\n'
    folder = _bootstrap(write(tmp_path / "totals", {"lambent.toml": manifest}))
    assert pack(folder).target == "bootstrap:Totals::Totals.Function::Sum"


@pytest.mark.parametrize("manifest", ["", '[app]\ntarget = "bootstrap"\n'])
@pytest.mark.parametrize("alone", ["", "bootstrap"])
def test_a_bootstrap_that_cannot_be_run_is_refused(tmp_path: Path, manifest: str, alone: str) -> None:
    folder = _bootstrap(tmp_path, 0o644)
    if manifest:
        write(folder, {"lambent.toml": manifest})
    with pytest.raises(BundleError, match=r"bootstrap is not executable: chmod \+x"):
        pack(folder / alone)


def test_a_model_file_needs_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, {"model.onnx": "x", "app.py": ""})
    bundle = pack(tmp_path / "model.onnx")
    assert (bundle.target, names(bundle)) == ("model.onnx", ["model.onnx"])


@pytest.mark.parametrize("file", ["model.pt", "model.pth", "model.safetensors"])
def test_what_the_server_can_name_the_matter_of_is_sent_to_it(tmp_path: Path, file: str) -> None:
    write(tmp_path, {file: "x"})
    assert pack(tmp_path / file).target == file


@pytest.mark.parametrize("weights", ["model.onnx.data", "model.onnx_data", "model.data"])
def test_a_model_file_takes_its_weights_along(tmp_path: Path, weights: str) -> None:
    write(tmp_path, {"model.onnx": "x", weights: "y"})
    assert names(pack(tmp_path / "model.onnx")) == sorted(["model.onnx", weights])


def test_a_model_file_may_be_a_link_into_a_cache(tmp_path: Path) -> None:
    write(tmp_path, {"blobs/ab12": "weights"})
    (tmp_path / "model.keras").symlink_to("blobs/ab12")
    [member] = pack(tmp_path / "model.keras").archive.members
    assert (member.path, member.size_bytes) == ("model.keras", 7)


def test_a_syntax_error_shows_its_line(tmp_path: Path) -> None:
    write(tmp_path, {"app.py": "def handler(event, context):\n    return {'a' 1}\n"})
    with pytest.raises(BundleError, match=r"app\.py:2: invalid syntax.*: return \{'a' 1\}"):
        pack(tmp_path / "app.py")


def test_a_syntax_error_in_an_imported_module_shows_its_line(tmp_path: Path) -> None:
    write(tmp_path, {"app.py": "import one", "one.py": "x = = 1"})
    with pytest.raises(BundleError, match=r"one\.py:1: invalid syntax: x = = 1"):
        pack(tmp_path / "app.py")


def test_a_broken_module_inside_a_package_is_no_hindrance(tmp_path: Path) -> None:
    write(tmp_path, {"app.py": "import old", "old/__init__.py": "", "old/for_python_2.py": "print 'x'"})
    assert "old/for_python_2.py" in names(pack(tmp_path / "app.py"))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (b"x = 1\0", "null byte"),
        ("name = 'café'".encode("latin-1"), "utf-8"),
        (b"(" * 300, "too many nested"),
        (b"# coding: nonsense\n", "nonsense"),
    ],
)
def test_bytes_that_are_not_python_are_refused(tmp_path: Path, source: bytes, said: str) -> None:
    (tmp_path / "app.py").write_bytes(source)
    with pytest.raises(BundleError, match=rf"app\.py:\d+: .*{said}"):
        pack(tmp_path / "app.py")


@pytest.mark.parametrize("target", ["app.py", "app.py:handler", "nothing", "model.onnx"])
def test_a_target_that_is_missing_is_named(tmp_path: Path, target: str) -> None:
    with pytest.raises(BundleError, match="is not there"):
        pack(tmp_path / target)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("app.py:not a name", "'not a name' is not the name of an object"),
        ("app.py:", "'' is not the name of an object"),
        ("notes.txt", "a target is file.py, file.py:object, a folder with lambent.toml or an executable"),
        ("model.onnx:handler", "only a .py file has objects"),
        ("empty", "has no lambent.toml"),
    ],
)
def test_a_target_that_cannot_be_is_explained(tmp_path: Path, target: str, said: str) -> None:
    write(tmp_path, {"app.py": "", "notes.txt": "", "model.onnx": "", "empty/x": ""})
    with pytest.raises(BundleError, match=said):
        pack(tmp_path / target)


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ("[app]\n", "neither a target nor a command"),
        ("[app\n", "lambent.toml is not right"),
        ('[app]\ntarget = "app.py"\ntimeout = 1\n', "unknown field `timeout`"),
        ('[app]\ntarget = "missing.py"\n', "'missing.py', which is not among the folder's files"),
        ('[app]\ntarget = "../app.py"\n', "not among the folder's files"),
        ('[app]\ntarget = "app.py:1"\n', "'1' in its target, not the name of an object"),
        ('[app]\ntarget = "app.py"\nexclude = ["app.py"]\n', "not among the folder's files"),
        (MANIFEST + "[deployments.a]\nmemroy = 1\n", r"\[deployments.a\] unknown setting 'memroy'"),
        (MANIFEST + "[deployments.a]\nmemory = {x = 1}\n", "memory is a table: only env is one"),
        (MANIFEST + '[deployments."a b"]\n', r"\[deployments.a b\] 'a b' is not a name"),
        (MANIFEST + "[deployments.a]\nworkers_max = true\n", "Expected"),
    ],
)
def test_a_manifest_that_is_wrong_is_explained(tmp_path: Path, manifest: str, said: str) -> None:
    write(tmp_path, {"lambent.toml": manifest, "app.py": ""})
    with pytest.raises(BundleError, match=said):
        pack(tmp_path)


def test_a_folder_whose_target_is_broken_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"lambent.toml": MANIFEST, "app.py": "import one", "one.py": "def"})
    with pytest.raises(BundleError, match=r"one\.py:1: .*: def"):
        pack(tmp_path)


def test_a_link_within_the_folder_is_followed(tmp_path: Path) -> None:
    write(tmp_path, {"lambent.toml": MANIFEST, "app.py": "", "real/x.txt": "x"})
    (tmp_path / "alias").symlink_to("real")
    (tmp_path / "y.txt").symlink_to("real/x.txt")
    assert names(pack(tmp_path)) == ["alias/x.txt", "app.py", "lambent.toml", "real/x.txt", "y.txt"]


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ("../outside.txt", "leaves"),
        ("../elsewhere", "leaves"),
        ("gone", "to nothing"),
        (".", "to a folder that it is in"),
    ],
)
def test_a_link_that_leads_astray_is_named(tmp_path: Path, link: str, said: str) -> None:
    write(tmp_path, {"outside.txt": "", "elsewhere/x": "", "in/lambent.toml": MANIFEST, "in/app.py": ""})
    (tmp_path / "in" / "astray").symlink_to(link)
    with pytest.raises(BundleError, match=f"astray is a link (that )?{said}"):
        pack(tmp_path / "in")
    write(tmp_path, {"in/lambent.toml": MANIFEST + 'exclude = ["astray"]\n'})
    assert names(pack(tmp_path / "in")) == ["app.py", "lambent.toml"]


def test_a_module_that_is_a_link_out_of_the_folder_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"outside.py": "", "in/app.py": "import one"})
    (tmp_path / "in" / "one.py").symlink_to("../outside.py")
    with pytest.raises(BundleError, match=r"one\.py is a link that leaves"):
        pack(tmp_path / "in" / "app.py")


def test_too_many_bytes_are_refused_with_the_largest_file(tmp_path: Path) -> None:
    write(tmp_path, {"lambent.toml": MANIFEST, "app.py": "", "data.bin": "x" * 2**20})
    with pytest.raises(
        BundleError, match=r"1\.0 MiB; the maximum is 0\.5 MiB; its largest file is data\.bin"
    ):
        pack(tmp_path, bytes_max=2**19)


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    write(tmp_path, {"lambent.toml": MANIFEST, "app.py": "", "a": "", "b": ""})
    with pytest.raises(BundleError, match="has 4 files to deploy; the maximum is 3"):
        pack(tmp_path, files_max=3)


@pytest.mark.parametrize(
    ("file", "name"),
    [("model.tar.gz", "model"), ("Iris_v2.tgz", "iris-v-2"), ("--.tar.gz", "model")],
)
def test_a_model_archive_goes_as_it_is(tmp_path: Path, file: str, name: str) -> None:
    write(tmp_path, {file: "packed"})
    bundle = pack(tmp_path / file)
    assert (bundle.target, bundle.name) == (".", name)
    assert b"".join(bundle.archive.chunks()) == b"packed"
    assert bundle.archive.size_bytes == len("packed")


def test_a_folder_that_is_laid_out_like_a_model_archive_goes_as_a_whole(tmp_path: Path) -> None:
    folder = write(tmp_path / "iris", {"code/inference.py": "", "model.joblib": "", ".hidden": ""})
    bundle = pack(folder)
    assert (bundle.target, bundle.name) == (".", "iris")
    assert names(bundle) == ["code/inference.py", "model.joblib"]


def test_a_command_takes_its_folder_along_and_what_its_manifest_says_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "My Shop"
    (folder / "static").mkdir(parents=True)
    for name in ("app.py", "static/a.css", "notes.txt"):
        (folder / name).touch()
    bundle = pack_for_command(folder)
    assert (bundle.target, bundle.name) == (".", "my-shop")
    assert names(bundle) == ["app.py", "notes.txt", "static/a.css"]
    (folder / "lambent.toml").write_text(
        '[app]\nexclude = ["notes.txt"]\n[deployments.shop]\ncommand = "serve"\nenv = { A = "1" }\n'
    )
    for bundle in (pack(folder), pack_for_command(folder)):
        assert (bundle.target, bundle.name) == (".", "")
        assert names(bundle) == ["app.py", "lambent.toml", "static/a.css"]
        assert bundle.per_deployment == {"shop": {"command": "serve", "env.A": "1"}}
    assert pack_for_command(folder / "app.py").target == "app.py"

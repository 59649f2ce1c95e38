"""Functions that call functions: a page of reviews is judged one by one, side by side.

Deploy it with `lambent deploy examples/composed/app.py`, then call it with
`lambent invoke page -d '{"reviews": ["good, really good", "bad"]}'`.
"""

import asyncio

import lambent

app = lambent.App("composed")

GOOD, BAD = {"good", "great", "fine"}, {"bad", "poor", "awful"}


@app.function()
def words(event, context):
    """The words of a text, in lower case."""
    return [word.strip(".,!?").lower() for word in event["text"].split()]


@app.function(concurrency=8)
async def judge(event, context):
    """How good a review is, from its words."""
    found = await lambent.call("words", {"text": event["text"]})
    score = sum(word in GOOD for word in found) - sum(word in BAD for word in found)
    return {"score": score, "trace_id": lambent.trace().trace_id}


@app.function()
def page(event, context):
    """Judge each review. All are under way before the first is waited for."""
    judging = [lambent.call("judge", {"text": text}, timeout_s=30) for text in event["reviews"]]
    scores, failed = [], []
    for text, one in zip(event["reviews"], judging, strict=True):
        try:
            scores.append(one.result()["score"])
        except lambent.CallFailed as error:
            failed.append({"review": text, "why": error.kind})
    return {"scores": scores, "failed": failed, "trace_id": lambent.trace().trace_id}


@app.function()
async def best(event, context):
    """The review that its judges like best: the same, in async code."""
    judged = await asyncio.gather(*(lambent.call("judge", {"text": text}) for text in event["reviews"]))
    scores = [one["score"] for one in judged]
    return event["reviews"][scores.index(max(scores))]

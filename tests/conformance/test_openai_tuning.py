"""OpenAI's own client has models trained on files that it sent, and then talks to them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support.compatibility import note
from tests.support.openai_client import client_of
from tests.support.project_keys import keys_of
from tests.support.server import RunningServer, wait_until

KEY = "openai"
JOBS = "/v1/fine_tuning/jobs"
DEEP = b'{"model":' + b"[" * 5000
FINAL = ("succeeded", "failed", "cancelled")
CODE = """
import json
import pathlib
import time

import lambent

app = lambent.App("tuned")


@app.job(slice_s=600, grace_s=5, workers_max=4)
def count(run):
    if "training_file" not in run.params:
        raise ValueError("this job is started with a file")
    words = {}
    lines = 0
    for step, row in enumerate(run.data(run.params.training_file), 1):
        lines += 1
        for message in row["messages"]:
            for word in message["content"].split():
                words[word] = words.get(word, 0) + 1
        run.log(step, train_loss=1.0 / step)
    valid = len(list(run.data(run.params.validation_file))) if "validation_file" in run.params else 0
    step = run.step
    while (gate := run.params.get("gate")) and not pathlib.Path(gate).exists():
        step += 1
        run.checkpoint({"step": step}, step=step, every_s=0.2)
        time.sleep(0.02)
    said = {"words": words, "valid": valid, "params": dict(run.params), "again": len(list(
        run.data(run.params.training_file)))}
    (run.model_dir / "words.json").write_text(json.dumps(said))
    run.report(lines=lines, trained_tokens=sum(words.values()) * run.params.get("n_epochs", 1))


class Counted:
    def load(self, model):
        self.said = json.loads((model.path / "words.json").read_text())

    def chat(self, ask: lambent.Chat):
        key = ask.text
        return json.dumps(self.said[key]) if key in self.said else str(self.said["words"].get(key, 0))


@app.model(train=count)
class Counter(Counted):
    pass


@app.model(train=count, accept="lines >= 3")
class Gated(Counted):
    pass


@app.model()
class Plain:
    def chat(self, ask: lambent.Chat):
        return "plain"
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("tuning")
    running = RunningServer(folder / "state").start()
    try:
        (folder / "tuned.py").write_text(CODE)
        running.deploy(folder / "tuned.py")
        yield running
    finally:
        running.stop()


@pytest.fixture
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with client_of(server) as made:
        yield made


def sent(client: openai.OpenAI, texts: Sequence[str], name: str = "talks.jsonl") -> str:
    lines = [{"messages": [{"role": "user", "content": text}]} for text in texts]
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    return client.files.create(file=(name, content), purpose="fine-tune").id


def ended(client: openai.OpenAI, job: str) -> Any:
    found: list[Any] = []

    def is_over() -> bool:
        found[:] = [client.fine_tuning.jobs.retrieve(job)]
        return found[0].status in FINAL

    wait_until(is_over, f"the end of {job}")
    return found[0]


def said(client: openai.OpenAI, model: str, text: str) -> Any:
    answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}])
    return json.loads(answer.choices[0].message.content or "")


def test_a_model_is_trained_on_files_and_then_answers_by_them(
    client: openai.OpenAI, server: RunningServer
) -> None:
    training, validation = sent(client, ["red red", "blue"]), sent(client, ["x"], name="held out")
    made = client.fine_tuning.jobs.create(
        model="counter",
        training_file=training,
        validation_file=validation,
        suffix="mine",
        seed=7,
        method={
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": "auto"}},
        },
        metadata={"who": "me"},
    )
    assert (made.object, made.model, made.seed, made.fine_tuned_model) == (
        "fine_tuning.job", "counter", 7, None,
    )  # fmt: skip
    job = ended(client, made.id)
    assert job.status == "succeeded", job
    assert (job.fine_tuned_model, job.trained_tokens, job.error) == ("counter", 6, None)
    assert (job.training_file, job.validation_file) == (training, validation)
    assert job.metadata == {"who": "me"}
    assert job.hyperparameters.n_epochs == 2
    assert job.finished_at >= job.created_at
    assert said(client, job.fine_tuned_model, "red") == 2
    assert said(client, job.fine_tuned_model, "valid") == 1
    params = said(client, job.fine_tuned_model, "params")
    assert params == {
        "n_epochs": 2, "seed": 7, "suffix": "mine", "training_file": training, "validation_file": validation,
    }  # fmt: skip

    events = list(client.fine_tuning.jobs.list_events(job.id, limit=2))
    assert len({event.id for event in events}) == len(events)
    assert "successfully" in events[0].message
    assert "Created" in events[-1].message
    steps = {event.data["step"]: event.data for event in events if event.type == "metrics"}
    assert steps[2]["train_loss"] == 0.5
    (checkpoint,) = client.fine_tuning.jobs.checkpoints.list(job.id)
    assert (checkpoint.fine_tuned_model_checkpoint, checkpoint.fine_tuning_job_id) == ("counter", job.id)

    second = client.fine_tuning.jobs.create(model="counter", training_file=sent(client, ["red " * 5]))
    assert ended(client, second.id).status == "succeeded"
    assert said(client, "counter", "red") == 5
    assert 0 <= second.seed < 2**31
    listed = [one.id for one in client.fine_tuning.jobs.list(limit=1)]
    assert listed.index(second.id) < listed.index(job.id)
    assert [one.id for one in client.fine_tuning.jobs.list(metadata={"who": "me"})] == [job.id]
    assert json.loads(server.cli("data", "ls", "--json").stdout) == []  # its files are its own
    for path in ("", "/{id}", "/{id}/events", "/{id}/checkpoints"):
        note(KEY, f"GET {JOBS}{path}")
    note(KEY, f"POST {JOBS}")


def test_a_model_that_its_gate_refuses_is_a_job_that_failed(client: openai.OpenAI) -> None:
    made = client.fine_tuning.jobs.create(model="gated", training_file=sent(client, ["one", "two"]))
    job = ended(client, made.id)
    assert (job.status, job.fine_tuned_model) == ("failed", None)
    assert job.error is not None
    assert job.error.code == "model_refused"
    assert job.error.message
    assert list(client.fine_tuning.jobs.checkpoints.list(job.id)) == []
    assert next(iter(client.fine_tuning.jobs.list_events(job.id))).level == "error"


def test_a_job_whose_code_raises_says_why(client: openai.OpenAI) -> None:
    content = b'{"text": "no messages"}\n'
    file = client.files.create(file=("a.jsonl", content), purpose="fine-tune").id
    job = ended(client, client.fine_tuning.jobs.create(model="counter", training_file=file).id)
    assert job.status == "failed"
    assert job.error is not None
    assert "messages" in (job.error.message or "")


def test_a_job_is_cancelled(client: openai.OpenAI, tmp_path: Path) -> None:
    hyper: Any = {"gate": str(tmp_path / "never")}
    made = client.fine_tuning.jobs.create(
        model="counter", training_file=sent(client, ["a"]), hyperparameters=hyper
    )
    wait_until(lambda: client.fine_tuning.jobs.retrieve(made.id).status == "running", "its start")
    for method in (client.fine_tuning.jobs.pause, client.fine_tuning.jobs.resume):
        with pytest.raises(openai.BadRequestError, match="cannot be paused"):
            method(made.id)
    assert client.fine_tuning.jobs.cancel(made.id).id == made.id
    job = ended(client, made.id)
    assert (job.status, job.fine_tuned_model, job.error) == ("cancelled", None, None)
    done = client.fine_tuning.jobs.create(
        model="counter", training_file=sent(client, ["b"], name="x" * 300 + "/README")
    ).id
    assert ended(client, done).status == "succeeded"
    with pytest.raises(openai.BadRequestError):
        client.fine_tuning.jobs.cancel(done)
    note(KEY, f"POST {JOBS}/{{id}}/cancel")


def test_a_job_outlives_its_server_and_its_files(
    client: openai.OpenAI, server: RunningServer, tmp_path: Path
) -> None:
    file = sent(client, ["kept kept kept"])
    hyper: Any = {"gate": str(tmp_path / "gate")}
    made = client.fine_tuning.jobs.create(model="counter", training_file=file, hyperparameters=hyper)
    wait_until(
        lambda: any("State kept" in e.message for e in client.fine_tuning.jobs.list_events(made.id)),
        "a checkpoint",
    )
    assert client.files.delete(file).deleted
    server.kill()
    server.start()
    (tmp_path / "gate").write_text("")
    with client_of(server) as again:
        job = ended(again, made.id)
        assert job.status == "succeeded", job
        assert (said(again, "counter", "kept"), said(again, "counter", "again")) == (3, 1)


@pytest.mark.parametrize(
    ("changes", "status", "param"),
    [
        ({"model": "nobody"}, 404, "model"),
        ({"model": "plain"}, 400, "model"),
        ({"model": "tuned-count"}, 400, "model"),
        ({"model": "counter:nothing"}, 404, "model"),
        ({"model": 7}, 400, "model"),
        ({"model": None}, 400, "model"),
        ({"training_file": "file-unknown"}, 400, "training_file"),
        ({"training_file": "../../x"}, 400, "training_file"),
        ({"validation_file": "file-unknown"}, 400, "validation_file"),
        ({"hyperparameters": {"n_epochs": 0}}, 400, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"n_epochs": True}}, 400, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"n_epochs": "many"}}, 400, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"batch_size": 1.5}}, 400, "hyperparameters.batch_size"),
        ({"hyperparameters": {"learning_rate_multiplier": -1}}, 400, None),
        ({"hyperparameters": {"learning_rate_multiplier": 10**400}}, 400, None),
        ({"hyperparameters": {"large": 10**400}}, 400, "hyperparameters.large"),
        ({"hyperparameters": {"n_epochs": 10**400}}, 400, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"training_file": "x"}}, 400, "hyperparameters.training_file"),
        ({"hyperparameters": {"deep": {"a": 1}}}, 400, "hyperparameters.deep"),
        ({"hyperparameters": {f"h{n}": n for n in range(40)}}, 400, "hyperparameters"),
        ({"hyperparameters": []}, 400, "hyperparameters"),
        ({"method": {"type": "dpo"}}, 400, "method.type"),
        ({"method": {"supervised": {"hyperparameters": {"n_epochs": -1}}}}, 400, "hyperparameters.n_epochs"),
        ({"suffix": "x" * 65}, 400, "suffix"),
        ({"seed": -1}, 400, "seed"),
        ({"seed": "1"}, 400, "seed"),
        ({"metadata": {"a": 1}}, 400, None),
        ({"metadata": {"a": "b" * 513}}, 400, "metadata"),
        ({"integrations": [{"type": "wandb"}]}, 400, "integrations"),
    ],
)
def test_what_is_wrong_is_refused_in_openais_words(
    client: openai.OpenAI, server: RunningServer, changes: Any, status: int, param: str | None
) -> None:
    body = {"model": "counter", "training_file": sent(client, ["a"])} | changes
    answer = server.request("POST", JOBS, json.dumps(body).encode())
    assert answer.status == status, answer.body
    error = answer.json()["error"]
    assert error["message"]
    if param is not None:
        assert error["param"] == param


def test_files_that_are_none_to_train_with_are_refused(client: openai.OpenAI) -> None:
    files = {
        "purpose": client.files.create(file=("a.jsonl", b"{}\n"), purpose="batch").id,
        "Line 2": client.files.create(file=("a.jsonl", b"{}\nno\n"), purpose="fine-tune").id,
        "Line 1 of": client.files.create(file=("a", b'{"a": "\xff"}\n'), purpose="fine-tune").id,
        "Line 1": client.files.create(file=("a", b'{"a": ' + b"[" * 9000), purpose="fine-tune").id,
        "is empty": client.files.create(file=("a.jsonl", b""), purpose="fine-tune").id,
    }
    for words, file in files.items():
        with pytest.raises(openai.BadRequestError, match=words) as caught:
            client.fine_tuning.jobs.create(model="counter", training_file=file)
        assert caught.value.param == "training_file"


def test_hostile_requests_are_the_callers_fault(server: RunningServer) -> None:
    for body in (b"", b"{", b"[]", b"null", b'{"model": "counter"}', b"\xff", b'{"model": "\xff"}', DEEP):
        assert server.request("POST", JOBS, body).status == 400
    for path in ("/ftjob-0", "/%00", "/ftjob-0/events", "/ftjob-0/checkpoints", "/" + "x" * 300):
        assert server.request("GET", JOBS + path).status == 404
    for verb in ("cancel", "pause", "resume"):
        assert server.request("POST", f"{JOBS}/ftjob-0/{verb}").status == 404
    assert server.request("GET", f"{JOBS}?limit=x").status == 400
    assert server.request("GET", f"{JOBS}?after=ftjob-0").status == 400
    assert server.request("DELETE", JOBS).status == 405


def test_jobs_are_their_projects_and_to_start_one_takes_a_key_that_may_deploy(
    client: openai.OpenAI, server: RunningServer, tmp_path: Path
) -> None:
    file = sent(client, ["a"])
    job = client.fine_tuning.jobs.create(model="counter", training_file=file).id
    made = json.loads(server.cli("keys", "create", "caller", "--role", "invoke", "--json").stdout)
    caller = client.with_options(api_key=made["api_key"])
    with pytest.raises(openai.PermissionDeniedError):
        caller.fine_tuning.jobs.create(model="counter", training_file=file)
    with pytest.raises(openai.PermissionDeniedError):
        caller.fine_tuning.jobs.cancel(job)
    assert ended(client, job).status == "succeeded"
    stranger = client.with_options(api_key=keys_of(server, "strangers")["strangers"].api_key)
    jobs = stranger.fine_tuning.jobs
    for ask in (jobs.retrieve, jobs.cancel, jobs.pause, jobs.list_events, jobs.checkpoints.list):
        with pytest.raises(openai.NotFoundError):
            ask(job)
    assert list(jobs.list()) == []
    with pytest.raises(openai.NotFoundError):
        jobs.create(model="counter", training_file=file)

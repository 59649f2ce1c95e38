"""Functions through boto3: made, read, changed, listed, deleted; every answer is held against AWS's model."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.aws_clients import PREFIX, ROLE, client_of, fetched, make, refused, settled, zip_of
from tests.support.server import RunningServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("functions")
    running = RunningServer(folder / "state").start()
    try:
        (folder / "app.py").write_text("def lambda_handler(event, context): return 1\n")
        running.deploy(folder / "app.py", "--name", "deployed")
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Any:
    return client_of(server)


BOOTSTRAP = f"""#!{sys.executable}
import json, os, urllib.request
api = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime/invocation/"
while True:
    with urllib.request.urlopen(api + "next") as answer:
        request_id, event = answer.headers["Lambda-Runtime-Aws-Request-Id"], json.load(answer)
    body = json.dumps({{"event": event, "handler": os.environ["_HANDLER"]}}).encode()
    urllib.request.urlopen(urllib.request.Request(api + request_id + "/response", body)).read()
"""


def run(client: Any, name: str, event: object = None, **more: Any) -> Any:
    answer = client.invoke(FunctionName=name, Payload=json.dumps(event), **more)
    assert "FunctionError" not in answer, answer["Payload"].read()
    return json.loads(answer["Payload"].read())


def test_a_function_is_created_becomes_active_and_answers(client: Any, server: RunningServer) -> None:
    code = zip_of()
    made = client.create_function(
        FunctionName="First_Function", Runtime="python3.12", Role=ROLE, Handler="main.handler",
        Code={"ZipFile": code}, Description="the first", Timeout=30, MemorySize=256,
        Environment={"Variables": {"MARK": "here"}}, Tags={"team": "ml"},
    )  # fmt: skip
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert (made["State"], made["StateReasonCode"]) == ("Pending", "Creating")
    assert made["CodeSha256"] == base64.b64encode(hashlib.sha256(code).digest()).decode()
    assert (made["CodeSize"], made["Version"]) == (len(code), "$LATEST")
    assert made["FunctionArn"] == PREFIX + "First_Function"
    client.get_waiter("function_active_v2").wait(FunctionName="First_Function")
    found = client.get_function(FunctionName="First_Function")
    configuration = found["Configuration"]
    assert (configuration["State"], configuration["LastUpdateStatus"]) == ("Active", "Successful")
    assert found["Tags"] == {"team": "ml"}
    changes = ("State", "Response", "RevisionId")  # turning active is a change, too
    same = {name: one for name, one in made.items() if not name.startswith(changes)}
    assert same.items() <= configuration.items()
    result = run(client, "First_Function", {"x": 1})
    assert result == {
        "event": {"x": 1}, "version": "$LATEST", "arn": PREFIX + "First_Function", "mark": "here",
    }  # fmt: skip
    listed = server.request("GET", "/api/v1/deployments").json()
    assert "First_Function" in json.dumps(listed)
    assert server.request("POST", "/invoke/First_Function", b"{}").status == 200


def test_the_zip_can_be_had_again_without_a_key_by_whoever_was_told_where(client: Any) -> None:
    code = zip_of()
    make(client, "kept-zip", Code={"ZipFile": code})
    found = client.get_function(FunctionName="kept-zip")
    location = found["Code"]["Location"]
    assert fetched(location) == (200, code)
    assert fetched(location.replace("lambda-code/", "lambda-code/0"))[0] == 404


def test_what_is_always_there_is_there(client: Any) -> None:
    make(client, "plain")
    found = client.get_function_configuration(FunctionName="plain")
    assert (found["Timeout"], found["MemorySize"], found["Description"]) == (3, 128, "")
    assert found["TracingConfig"] == {"Mode": "PassThrough"}
    assert found["EphemeralStorage"] == {"Size": 512}
    assert found["SnapStart"] == {"ApplyOn": "None", "OptimizationStatus": "Off"}
    assert found["LoggingConfig"] == {"LogFormat": "Text", "LogGroup": "/aws/lambda/plain"}
    assert found["PackageType"] == "Zip"
    assert found["Architectures"] == ["x86_64"]
    assert found["RuntimeVersionConfig"]["RuntimeVersionArn"]
    assert found["LastModified"].endswith("+0000")
    assert "Environment" not in found


def test_code_is_updated_and_answers_when_it_is_told(client: Any) -> None:
    make(client, "coded")
    before = client.get_function_configuration(FunctionName="coded")
    changed = client.update_function_code(
        FunctionName="coded", ZipFile=zip_of("def handler(event, context): return 'new'")
    )
    assert (changed["State"], changed["LastUpdateStatus"]) == ("Active", "InProgress")
    assert changed["RevisionId"] != before["RevisionId"]
    assert changed["CodeSha256"] != before["CodeSha256"]
    settled(client, "coded")
    assert client.get_function_configuration(FunctionName="coded")["LastUpdateStatus"] == "Successful"
    assert run(client, "coded") == "new"


def test_a_configuration_is_changed_where_it_is_said_and_nowhere_else(client: Any) -> None:
    make(client, "configured", Environment={"Variables": {"MARK": "a"}}, Timeout=10, Description="d")
    changed = client.update_function_configuration(FunctionName="configured", MemorySize=512)
    assert changed["LastUpdateStatus"] == "InProgress"
    assert (changed["MemorySize"], changed["Timeout"], changed["Description"]) == (512, 10, "d")
    assert changed["Environment"] == {"Variables": {"MARK": "a"}}
    settled(client, "configured")
    changed = client.update_function_configuration(
        FunctionName="configured", Environment={"Variables": {"OTHER": "b"}}, Description="",
        TracingConfig={"Mode": "Active"}, EphemeralStorage={"Size": 1024},
        VpcConfig={"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]},
        DeadLetterConfig={"TargetArn": "arn:aws:sqs:eu-central-1:000000000000:dead"},
        LoggingConfig={"LogFormat": "JSON", "ApplicationLogLevel": "DEBUG"},
    )  # fmt: skip
    assert changed["Environment"] == {"Variables": {"OTHER": "b"}}
    settled(client, "configured")
    found = client.get_function_configuration(FunctionName="configured")
    assert (found["Description"], found["TracingConfig"]) == ("", {"Mode": "Active"})
    assert found["EphemeralStorage"] == {"Size": 1024}
    assert found["VpcConfig"] == {
        "SubnetIds": ["subnet-1"],
        "SecurityGroupIds": ["sg-1"],
        "Ipv6AllowedForDualStack": False,
        "VpcId": "vpc-00000000000000000",
    }
    assert found["LoggingConfig"]["LogFormat"] == "JSON"
    assert run(client, "configured")["mark"] == ""


def test_a_change_that_was_made_on_an_old_state_is_refused(client: Any) -> None:
    make(client, "guarded")
    found = client.get_function_configuration(FunctionName="guarded")
    for call, words in (
        (client.update_function_code, {"ZipFile": zip_of()}),
        (client.update_function_configuration, {"Timeout": 5}),
        (client.publish_version, {}),
    ):
        status, kind, text = refused(call, FunctionName="guarded", RevisionId="old", **words)
        assert (status, kind) == (412, "PreconditionFailedException")
        assert text.startswith("The Revision Id provided does not match the latest Revision Id.")
    client.update_function_configuration(FunctionName="guarded", Timeout=5, RevisionId=found["RevisionId"])
    settled(client, "guarded")


def test_an_update_during_an_update_is_refused(client: Any, tmp_path: Path) -> None:
    make(client, "slow")
    go = tmp_path / "go"
    waits = (
        f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
        "def handler(event, context): return 1\n"
    )
    client.update_function_code(FunctionName="slow", ZipFile=zip_of(waits))
    status, kind, text = refused(client.update_function_configuration, FunctionName="slow", Timeout=9)
    assert (status, kind) == (409, "ResourceConflictException")
    assert text == (
        f"The operation cannot be performed at this time. An update is in progress for resource: {PREFIX}slow"
    )
    assert refused(client.publish_version, FunctionName="slow")[1] == "ResourceConflictException"
    found = client.get_function_configuration(FunctionName="slow")
    assert found["LastUpdateStatus"] == "InProgress"
    go.touch()
    settled(client, "slow")


def test_code_that_cannot_be_imported_is_told_to_who_invokes_it(client: Any) -> None:
    make(client, "broken", "import nothing_of_this_name\n")
    answer = client.invoke(FunctionName="broken")
    assert answer["FunctionError"] == "Unhandled"
    error = json.loads(answer["Payload"].read())
    assert error["errorType"] == "Runtime.ImportModuleError"
    assert "No module named 'nothing_of_this_name'" in error["errorMessage"]
    make(client, "missing", Handler="other.handler")
    error = json.loads(client.invoke(FunctionName="missing")["Payload"].read())
    assert error["errorType"] == "Runtime.ImportModuleError"


def test_a_handler_in_a_folder(client: Any) -> None:
    files = {
        "src/app.py": "from src.deep import x\ndef run(event, context): return x\n",
        "src/deep.py": "x = 7",
    }
    make(client, "deep", files, Handler="src/app.run")
    assert run(client, "deep") == 7
    make(client, "dotted", files, Handler="src.app.run")
    assert run(client, "dotted") == 7


def test_a_bootstrap_runs_as_it_does_on_aws(client: Any) -> None:
    code = zip_of({"bootstrap": BOOTSTRAP}, mode=0o755)
    made = make(client, "own-runtime", Runtime="provided.al2023", Handler="any", Code={"ZipFile": code})
    assert made["Runtime"] == "provided.al2023"
    assert run(client, "own-runtime", {"x": 1}) == {"event": {"x": 1}, "handler": "any"}
    make(client, "no-runtime", Runtime="provided.al2023", Handler="any")
    error = json.loads(client.invoke(FunctionName="no-runtime")["Payload"].read())
    assert error["errorType"] == "Runtime.InvalidEntrypoint"


def test_what_lambent_deployed_is_a_function_too(client: Any) -> None:
    found = client.get_function(FunctionName="deployed")["Configuration"]
    assert (found["Handler"], found["Version"], found["State"]) == ("app.lambda_handler", "$LATEST", "Active")
    client.update_function_configuration(FunctionName="deployed", Timeout=17)
    settled(client, "deployed")
    assert client.get_function_configuration(FunctionName="deployed")["Timeout"] == 17
    assert run(client, "deployed") == 1


def test_functions_are_listed_in_pages_and_with_their_versions(client: Any) -> None:
    for name in ("list-a", "list-b", "list-c"):
        make(client, name)
    client.publish_version(FunctionName="list-b")
    pages = client.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 1})
    names = [one["FunctionName"] for page in pages for one in page["Functions"]]
    assert names == sorted(names)
    assert {"list-a", "list-b", "list-c"} <= set(names)
    every = client.get_paginator("list_functions").paginate(FunctionVersion="ALL")
    versions = [
        (one["FunctionName"], one["Version"])
        for page in every
        for one in page["Functions"]
        if one["FunctionName"].startswith("list-")
    ]
    assert versions == [("list-a", "$LATEST"), ("list-b", "$LATEST"), ("list-b", "1"), ("list-c", "$LATEST")]
    assert refused(client.list_functions, FunctionVersion="SOME")[1] == "ValidationException"


@pytest.mark.parametrize(
    "name", ["{}", PREFIX + "{}", "000000000000:function:{}", "{}:$LATEST", "function:{}"]
)
def test_a_function_has_many_names(client: Any, name: str) -> None:
    if not any(one["FunctionName"] == "named" for one in client.list_functions()["Functions"]):
        make(client, "named")
    found = client.get_function_configuration(FunctionName=name.format("named"))
    arn = PREFIX + "named" + (":$LATEST" if "$LATEST" in name else "")
    assert (found["FunctionName"], found["FunctionArn"]) == ("named", arn)


def test_a_function_is_deleted_with_all_that_belongs_to_it(client: Any) -> None:
    make(client, "doomed", Tags={"a": "b"})
    client.publish_version(FunctionName="doomed")
    answer = client.delete_function(FunctionName="doomed")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    for call in (client.get_function, client.delete_function, client.get_function_configuration):
        status, kind, text = refused(call, FunctionName="doomed")
        assert (status, kind) == (404, "ResourceNotFoundException")
        assert text == f"Function not found: {PREFIX}doomed"
    make(client, "doomed")
    assert "Tags" not in client.get_function(FunctionName="doomed")
    assert [
        one["Version"] for one in client.list_versions_by_function(FunctionName="doomed")["Versions"]
    ] == ["$LATEST"]


def test_a_dry_run_of_new_code_changes_nothing(client: Any) -> None:
    make(client, "rehearsed")
    before = client.get_function_configuration(FunctionName="rehearsed")
    client.update_function_code(FunctionName="rehearsed", ZipFile=zip_of("x = 1"), DryRun=True)
    assert client.get_function_configuration(FunctionName="rehearsed")["CodeSha256"] == before["CodeSha256"]


def test_code_of_a_folder_of_this_machine(client: Any, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("def handler(event, context): return 'from a folder'\n")
    make(client, "local", Code={"S3Bucket": "lambent-directory", "S3Key": str(tmp_path)})
    assert run(client, "local") == "from a folder"


def test_a_folder_of_this_machine_is_for_administrators(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("def handler(event, context): return 'from a folder'\n")
    made = json.loads(server.cli("keys", "create", "ci", "--role", "deploy", "--json").stdout)
    deployer = client_of(
        server,
        aws_access_key_id=made["access_key_id"],
        aws_secret_access_key=made["secret_access_key"],
    )
    folder = {"S3Bucket": "lambent-directory", "S3Key": str(tmp_path)}
    assert refused(make, client=deployer, name="sly", Code=folder)[:2] == (403, "AccessDeniedException")
    make(deployer, "open")


LAYER = "arn:aws:lambda:eu-central-1:000000000000:layer:none:1"
CREATE = {
    "FunctionName": "wrong", "Runtime": "python3.12", "Role": ROLE, "Handler": "main.handler",
    "Code": {"ZipFile": zip_of()},
}  # fmt: skip


BAD_PARAMETER = "InvalidParameterValueException"
INVALID = "1 validation error detected: Value "
VARIABLES = (
    "Lambda was unable to configure your environment variables because the environment variables you have "
)
WRONG = {
    "a role": ({"Role": "nobody"}, "ValidationException", INVALID + "'nobody' at 'role'"),
    "a long time": ({"Timeout": 99_999}, "ValidationException", INVALID + "'99999' at 'timeout'"),
    "little memory": ({"MemorySize": 100}, "ValidationException", INVALID + "'100' at 'memorySize'"),
    "words": ({"Timeout": "soon"}, "SerializationException", "Expected int"),
    "a runtime": ({"Runtime": "cobol85"}, BAD_PARAMETER, "Value cobol85 at 'runtime' failed to satisfy"),
    "no zip": ({"Code": {"ZipFile": b"?"}}, BAD_PARAMETER, "Could not unzip uploaded file. Please check"),
    "no code": ({"Code": {}}, BAD_PARAMETER, "Please provide a source for function code."),
    "an empty zip": ({"Code": {"ZipFile": b""}}, BAD_PARAMETER, "Uploaded file must be a non-empty zip"),
    "a way out": ({"Code": {"ZipFile": zip_of({"../evil.py": "x"})}}, BAD_PARAMETER, "Could not unzip"),
    "a bomb": (
        {"Code": {"ZipFile": zip_of({"big": "0" * 262_144_001})}}, BAD_PARAMETER,
        "Unzipped size must be smaller than 262144000 bytes",
    ),
    "a bucket": (
        {"Code": {"S3Bucket": "nowhere", "S3Key": "x.zip"}}, BAD_PARAMETER,
        "Error occurred while GetObject. S3 Error Code: NoSuchBucket.",
    ),
    "a variable of AWS": (
        {"Environment": {"Variables": {"AWS_REGION": "x"}}}, BAD_PARAMETER,
        VARIABLES + "provided contains reserved keys",
    ),
    "long variables": (
        {"Environment": {"Variables": {"LONG": "x" * 5000}}}, BAD_PARAMETER,
        VARIABLES + "provided exceeded the 4KB limit.",
    ),
    "a layer": ({"Layers": [LAYER]}, BAD_PARAMETER, f"Layer version {LAYER} does not exist."),
    "an image": ({"PackageType": "Image"}, BAD_PARAMETER, "Container images"),
    "a name": ({"FunctionName": "a b"}, "ValidationException", INVALID + "'a b' at 'functionName'"),
    "a long name": ({"FunctionName": "x" * 100}, BAD_PARAMETER, "1 validation error detected: Value 'xxx"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_be_created_is_refused_in_the_words_of_aws(client: Any, wrong: str) -> None:
    changes, kind, text = WRONG[wrong]
    found = refused(client.create_function, **{**CREATE, **changes})
    assert found[:2] == (400, kind), found
    assert found[2].startswith(text)


def test_functions_are_made_side_by_side_and_a_name_is_given_once(client: Any) -> None:
    def create(name: str) -> str:
        try:
            client.create_function(**{**CREATE, "FunctionName": name})
        except client.exceptions.ResourceConflictException:
            return "taken"
        return name

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(create, [f"beside-{number % 8}" for number in range(24)]))
    assert sorted(name for name in made if name != "taken") == [f"beside-{number}" for number in range(8)]
    for number in range(8):
        waiter = client.get_waiter("function_active_v2")
        waiter.wait(FunctionName=f"beside-{number}", WaiterConfig={"Delay": 0.05, "MaxAttempts": 2000})
    assert run(client, "beside-7", {})["arn"] == PREFIX + "beside-7"


def test_a_name_that_is_taken(client: Any) -> None:
    make(client, "taken")
    found = refused(client.create_function, **{**CREATE, "FunctionName": "taken"})
    assert found == (409, "ResourceConflictException", "Function already exist: taken")


def test_a_request_that_is_too_large(client: Any) -> None:
    found = refused(client.create_function, **{**CREATE, "Code": {"ZipFile": b"x" * 60_000_000}})
    assert found == (
        413, "RequestEntityTooLargeException",
        "Request must be smaller than 70167211 bytes for the CreateFunction operation",
    )  # fmt: skip

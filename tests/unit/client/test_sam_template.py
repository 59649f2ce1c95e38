"""SAM templates: what becomes of them, and what is said of the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lambent.client.errors import BundleError
from lambent.client.sam.intrinsics import Resolver, Unresolved, load
from lambent.client.sam.stack import Stack
from lambent.client.sam.template import read

# The shape of what `sam init` writes, with what people add to it.
TEMPLATE = """
AWSTemplateFormatVersion: '2010-09-09'
Transform: AWS::Serverless-2016-10-31
Parameters:
  Stage: {Type: String, Default: dev}
  Seconds: {Type: Number, Default: 7}
Mappings:
  ByStage: {dev: {Memory: 256}, live: {Memory: 1024}}
Conditions:
  Live: !Equals [!Ref Stage, live]
Globals:
  Function:
    Runtime: python3.11
    Timeout: !Ref Seconds
    Environment: {Variables: {STAGE: !Ref Stage, TABLE: !Sub "items-${Stage}", KEPT: !Sub "${!Literal}"}}
    Layers: [arn:aws:lambda:us-east-1:000000000000:layer:base:3]
    Tracing: Active
Resources:
  Hello:
    Type: AWS::Serverless::Function
    Properties:
      FunctionName: !Sub "hello-${Stage}"
      CodeUri: hello/
      Handler: app.lambda_handler
      MemorySize: !FindInMap [ByStage, !Ref Stage, Memory]
      Layers: [!Ref Common]
      Environment: {Variables: {OTHER: !GetAtt Worker.Arn, STAGE: overridden}}
      Policies: [AWSLambdaBasicExecutionRole]
      Events:
        Get: {Type: HttpApi, Properties: {Path: /hello, Method: get}}
        Nightly: {Type: Schedule, Properties: {Schedule: rate(1 day)}}
  Worker:
    Type: AWS::Serverless::Function
    Properties:
      InlineCode: "def handler(event, context):\\n    return event\\n"
      Handler: index.handler
      ReservedConcurrentExecutions: !If [Live, 10, !Ref AWS::NoValue]
  Never:
    Type: AWS::Serverless::Function
    Condition: Live
    Properties: {CodeUri: nowhere, Handler: a.b}
  Common:
    Type: AWS::Serverless::LayerVersion
    Properties: {ContentUri: layer, CompatibleRuntimes: [python3.11]}
  Table: {Type: AWS::DynamoDB::Table}
Outputs:
  Url: {Value: !GetAtt Table.Arn}
"""


def written(folder: Path, text: str) -> Path:
    for name in ("hello", "layer"):
        (folder / name).mkdir()
    file = folder / "template.yaml"
    file.write_text(text)
    return file


def reasons(stack: Stack) -> dict[str, str]:
    return {one.what: one.why for one in stack.ignored}


def test_a_template_is_functions_and_layers_with_globals_merged(tmp_path: Path) -> None:
    stack = read(written(tmp_path, TEMPLATE))
    hello, worker = stack.functions
    told = hello.properties
    assert (hello.name, told.handler, told.runtime, hello.code) == (
        "hello-dev", "app.lambda_handler", "python3.11", tmp_path / "hello",
    )  # fmt: skip
    assert (told.memory_size, told.timeout) == (256, 7)
    assert told.environment.variables == {
        "STAGE": "overridden",
        "TABLE": "items-dev",
        "KEPT": "${Literal}",
        "OTHER": "arn:aws:lambda:us-east-1:000000000000:function:Worker",
    }
    assert told.layers == ("arn:aws:lambda:us-east-1:000000000000:layer:base:3", "layer:Common")
    assert (worker.name, worker.code, worker.properties.reserved_concurrent_executions) == (
        "Worker", None, None,
    )  # fmt: skip
    assert [(layer.name, layer.content) for layer in stack.layers] == [("Common", tmp_path / "layer")]


def test_what_is_left_out_is_said_with_its_reason(tmp_path: Path) -> None:
    told = reasons(read(written(tmp_path, TEMPLATE)))
    assert set(told) == {
        "Hello.Policies", "Hello.Tracing", "Outputs", "Table", "Worker.Tracing",
    }  # fmt: skip
    assert "IAM" in told["Hello.Policies"]
    assert "AWS::DynamoDB::Table" in told["Table"]


def test_parameters_go_before_their_defaults(tmp_path: Path) -> None:
    (tmp_path / "nowhere").mkdir()
    stack = read(written(tmp_path, TEMPLATE), {"Stage": "live", "Seconds": "30"})
    hello, worker, never = stack.functions
    assert (hello.name, hello.properties.memory_size, hello.properties.timeout) == ("hello-live", 1024, 30)
    assert worker.properties.reserved_concurrent_executions == 10
    assert never.name == "Never"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("[1, 2]", "mapping", id="a list"),
        pytest.param("{a: [", "not YAML", id="no YAML"),
        pytest.param("Resources: {}", "no AWS::Serverless::Function", id="nothing in it"),
        pytest.param("Resources: [1]", "Resources is no mapping", id="resources of another shape"),
        pytest.param("Resources: {A: {}}", "A has no Type", id="no type"),
        pytest.param("Resources: {A: {Type: AWS::S3::Bucket}}", "no AWS::Serverless", id="a bucket"),
        pytest.param(
            "Resources: {A: {Type: FUNCTION, Properties: {CodeUri: gone, Handler: a.b}}}",
            "not there", id="no such folder",
        ),
        pytest.param(
            "Resources: {A: {Type: FUNCTION, Properties: {CodeUri: s3://b/k, Handler: a.b}}}",
            "has to be a path", id="code in a bucket",
        ),
        pytest.param(
            "Resources: {A: {Type: FUNCTION, Properties: {MemorySize: much, CodeUri: hello}}}",
            "A is not right", id="a number that is none",
        ),
        pytest.param(
            "Resources: {A: {Type: FUNCTION, Properties: {PackageType: Image}}}",
            "container image", id="an image",
        ),
        pytest.param(
            "Resources: {A: {Type: FUNCTION, Properties: {Handler: !ImportValue x}}}",
            "A.Handler needs Fn::ImportValue", id="what only AWS knows",
        ),
        pytest.param(
            "Resources: {A: {Type: FUNCTION, Condition: Gone, Properties: {Handler: a.b}}}",
            "the condition Gone", id="no such condition",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_deployed_is_refused_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BundleError, match=said):
        read(written(tmp_path, text.replace("FUNCTION", "AWS::Serverless::Function")))


def test_a_parameter_that_the_template_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="has no parameter Stagee"):
        read(written(tmp_path, TEMPLATE), {"Stagee": "live"})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("!Join ['-', [a, !Ref P, c]]", "a-p-c"),
        ("!Select [1, !Split [',', 'a,b']]", "b"),
        ("!Sub ['${A}/${P}/${F.Arn}', {A: !Ref P}]", "p/p/F's Arn"),
        ("{'Fn::Sub': 'plain ${P}'}", "plain p"),
        ("!Base64 text", "dGV4dA=="),
        ("!If [IsSo, one, two]", "one"),
        ("!If [IsNot, one, two]", "two"),
        ("[a, !Ref AWS::NoValue]", ["a"]),
        ("{a: !Ref AWS::NoValue, b: 1}", {"b": 1}),
        ("{S: [{Condition: {E: {a: b}}}]}", {"S": [{"Condition": {"E": {"a": "b"}}}]}),
    ],
)  # fmt: skip
def test_intrinsic_functions(text: str, value: Any) -> None:
    conditions = load("{IsSo: !And [!Not [!Equals [a, b]], !Equals [a, a]], IsNot: !Not [!Condition IsSo]}")
    resolver = Resolver(
        known={"P": "p"},
        attributes=lambda name, attribute: f"{name}'s {attribute}",
        mappings={},
        conditions=conditions,
    )
    assert resolver.resolve(load(f"value: {text}")["value"]) == value


@pytest.mark.parametrize(
    "text", ["!Ref Nobody", "!Select [9, [a]]", "!GetAZs ''", "!Join [a]", "!FindInMap [a, b, c]"]
)
def test_what_is_not_known_is_said_to_be(text: str) -> None:
    resolver = Resolver(known={}, attributes=lambda *_: "", mappings={}, conditions={})
    with pytest.raises(Unresolved):
        resolver.resolve(load(f"value: {text}")["value"])


def test_a_condition_of_itself_ends() -> None:
    conditions = load("{Round: !Not [!Condition Round]}")
    with pytest.raises(Unresolved, match="refers to itself"):
        Resolver(known={}, attributes=lambda *_: "", mappings={}, conditions=conditions).holds("Round")

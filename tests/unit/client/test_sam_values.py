"""What a SAM template's author may write, and CloudFormation makes a text, a name or a refusal of."""

from __future__ import annotations

from pathlib import Path

import pytest

from lambent.client.errors import BundleError
from lambent.client.sam.stack import Stack
from lambent.client.sam.template import read

FUNCTION = """
  F:
    Type: AWS::Serverless::Function
    Properties:
      Handler: index.handler
      Runtime: python3.11
      InlineCode: x
"""


def read_one(folder: Path, properties: str, *, above: str = "", beside: str = "", **given: str) -> Stack:
    file = folder / "template.yaml"
    file.write_text(
        f"Transform: AWS::Serverless-2016-10-31\n{above}\nResources:\n{beside}{FUNCTION}{properties}"
    )
    return read(file, given)


def description(folder: Path, text: str, above: str = "", **given: str) -> str:
    stack = read_one(
        folder, f"      Description: {text}\n      AutoPublishAlias: live\n", above=above, **given
    )
    return stack.functions[0].properties.description


def test_numbers_truths_and_dates_are_texts_where_texts_are_meant(tmp_path: Path) -> None:
    variables = "{PORT: 8080, ON: true, RATE: 0.5, SINCE: 2020-01-01, 1: a, NONE: !Ref 'AWS::NoValue'}"
    stack = read_one(
        tmp_path,
        f"      Environment: {{Variables: {variables}}}\n      Tags: {{cost: 5}}\n      Description: 7\n",
    )
    told = stack.functions[0].properties
    assert told.environment.variables == {
        "PORT": "8080", "ON": "true", "RATE": "0.5", "SINCE": "2020-01-01", "1": "a",
    }  # fmt: skip
    assert (told.tags, told.description) == ({"cost": "5"}, "7")


@pytest.mark.parametrize(("text", "value"), [
    ("!Ref F.Alias", "arn:aws:lambda:us-east-1:000000000000:function:F:live"),
    ("!Ref FAliaslive", "arn:aws:lambda:us-east-1:000000000000:function:F:live"),
    ("!Sub '${F.Alias} of ${F}'", "arn:aws:lambda:us-east-1:000000000000:function:F:live of F"),
    ("!FindInMap [M, 1, B]", "one"),
    ("!FindInMap [M, 2, B, {DefaultValue: none}]", "none"),
    ("{'Fn::ToJsonString': {a: [1]}}", '{"a":[1]}'),
    ("!Sub ['${A}', {A: true}]", "true"),
])  # fmt: skip
def test_values(tmp_path: Path, text: str, value: str) -> None:
    assert description(tmp_path, text, "Mappings: {M: {1: {B: one}}}") == value


def test_a_functions_name_may_be_made_of_what_comes_after_it(tmp_path: Path) -> None:
    stack = read_one(tmp_path, "      FunctionName: !Sub '${Q}-${Later}'\n  Later: {Type: AWS::X::Y}\n"
                     "  Q: {Type: AWS::SQS::Queue, Properties: {QueueName: jobs}}\n")  # fmt: skip
    assert stack.functions[0].name.endswith("/jobs-Later")


def test_a_parameter_has_only_values_that_are_allowed(tmp_path: Path) -> None:
    above = "Parameters: {P: {Type: Number, Default: 1, AllowedValues: [1, 2]}}"
    assert description(tmp_path, "!Ref P", above) == "1"
    assert description(tmp_path, "!Ref P", above, P="2") == "2"
    with pytest.raises(BundleError, match="the parameter P is '3', and not one of 1, 2"):
        description(tmp_path, "!Ref P", above, P="3")


def test_the_name_of_a_parameter_that_is_kept_elsewhere_is_not_its_value(tmp_path: Path) -> None:
    above = "Parameters: {P: {Type: 'AWS::SSM::Parameter::Value<String>', Default: /the/name}}"
    with pytest.raises(BundleError, match="needs !Ref P"):
        description(tmp_path, "!Ref P", above)
    assert description(tmp_path, "!Ref P", above, P="the value") == "the value"


@pytest.mark.parametrize(("properties", "beside", "said"), [
    ("      FunctionName: !Ref F\n", "", "refers to itself"),
    ("      FunctionName: G\n", FUNCTION.replace("F:", "G:", 1), "more than one function is called 'G'"),
    ("    Condition: true\n", "", "no name of a condition"),
    ("      Description: !ImportValue x\n", "", "needs Fn::ImportValue"),
])  # fmt: skip
def test_what_cannot_be_is_said(tmp_path: Path, properties: str, beside: str, said: str) -> None:
    with pytest.raises(BundleError, match=said):
        read_one(tmp_path, properties, beside=beside)


def test_a_short_text_that_stands_for_more_than_a_machine_holds_is_refused(tmp_path: Path) -> None:
    lists = "".join(f"  l{n + 1}: &l{n + 1} [{', '.join([f'*l{n}'] * 10)}]\n" for n in range(8))
    above = f"Metadata:\n  l0: &l0 [x]\n{lists}"
    with pytest.raises(BundleError, match="more than 500000 values"):
        description(tmp_path, "!Select [0, *l8]", above)


@pytest.mark.parametrize("text", ["!!map [x]", "!!timestamp x", "!!int x", "[!Sub"])
def test_what_is_no_value_of_its_tag_is_no_yaml(tmp_path: Path, text: str) -> None:
    with pytest.raises(BundleError, match="the template is not YAML"):
        description(tmp_path, text)


def test_destinations_that_hear_of_nothing_are_told(tmp_path: Path) -> None:
    to = "{OnSuccess: {Type: SNS, Destination: 'arn:aws:sns:::t'}, OnFailure: {Type: SQS}}"
    stack = read_one(tmp_path, f"      EventInvokeConfig: {{DestinationConfig: {to}}}\n")
    assert [(one.what.rpartition(".")[2], one.why) for one in stack.ignored] == [
        ("OnSuccess", "SNS: only functions and queues are told"),
        ("OnFailure", "no queue is made for it: name one as its Destination"),
    ]

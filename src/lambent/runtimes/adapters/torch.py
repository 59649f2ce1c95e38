"""Programs that torch has exported (`.pt2`): run without user code, their weights mapped.

Such a program is a graph that torch's own operators run one after another in this thread: with one thread
granted none is started, and a process that has loaded and run it may be forked (seen with torch 2.13). It
holds no pickled objects. TorchScript, its predecessor, is deprecated and is refused.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.export.pt2_archive
from torch.utils import _pytree as pytree

from lambent.runtimes.adapters import weights
from lambent.runtimes.adapters.files import derived
from lambent.runtimes.adapters.predictor import Array, BadModel, Predictor, TensorSpec
from lambent.wire.oneshot import Serving

NAME: Final = "torch"
# numpy has no such type: its values travel as float32, which holds them all.
CARRIED_AS: Final = {torch.bfloat16: torch.float32}


def warm_up() -> None:
    """Nothing: what reading a program imports is among the modules of its environment."""


def open_file(path: Path) -> Predictor:
    """The program in a `.pt2` file or in the index of its weights. Raises `BadModel`."""
    if path.suffix == ".pt2":
        program = _read(path)
        return _predictor(program, program.module())
    metadata = weights.read_index(path).metadata
    program = _read(path.parent / metadata.program)
    network = program.module()
    # What was read goes before its mapped twin comes: else both would count against the memory at once.
    program.state_dict.clear()
    _empty(network)
    weights.load_into(network, weights.mapped(path))
    return _predictor(program, network)


def prepare(folder: Path, file: str) -> Serving:
    """Check that the program can be read, and store its weights so that they can be mapped."""
    program = _read(folder / file)
    network = program.module()
    signature = _predictor(program, network).signature
    home = derived(folder, file, ".weights")
    try:
        tensors = weights.plain(network.state_dict())
    except weights.NotPlain as error:
        reason = f"served as it is, its weights are copied: {error}"
        return Serving(
            adapter=NAME, file=file, served_by=NAME, served_file=file, reason=reason, signature=signature
        )
    index = weights.store(tensors, home, program=os.path.relpath(folder / file, home))
    return Serving(
        adapter=NAME,
        file=file,
        served_by=NAME,
        served_file=index.relative_to(folder).as_posix(),
        mapped_bytes=sum(path.stat().st_size for path in home.iterdir()),
        signature=signature,
    )


def _read(path: Path) -> Any:
    try:
        return torch.export.load(path)
    except Exception as error:  # a cut archive, an unknown operator, another version: each raises its own
        raise BadModel(f"{path.name} cannot be read as an exported program: {error}") from error


def _empty(network: Any) -> None:
    """Let go of the weights and of nothing else: constants of the program are not among what is stored."""
    for name in network.state_dict():
        path, _, leaf = name.rpartition(".")
        owner = network.get_submodule(path)
        nothing = torch.empty_like(getattr(owner, leaf), device="meta")
        if leaf in dict(owner.named_parameters(recurse=False)):
            nothing = torch.nn.Parameter(nothing, requires_grad=False)
        setattr(owner, leaf, nothing)


def _predictor(program: Any, network: Any) -> Predictor:
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    taken = [(str(name), _example(nodes, name)) for name in program.graph_signature.user_inputs]
    specs = [_spec(name, value) for name, value in taken]
    dtypes = [value.dtype for _, value in taken]
    structure = program.call_spec.in_spec
    returned = program.graph_signature.user_outputs
    outputs = [f"output_{position}" for position in range(len(returned))]
    everything = {node.name: node.meta.get("val") for node in program.graph.nodes}
    values = [everything.get(name) if isinstance(name, str) else None for name in returned]
    gives = [
        _spec(name, value)
        for name, value in zip(outputs, values, strict=True)
        if isinstance(value, torch.Tensor)
    ]

    def run(arrays: Sequence[Array]) -> Sequence[Array]:
        tensors = [torch.tensor(array).to(dtype) for array, dtype in zip(arrays, dtypes, strict=True)]
        args, kwargs = pytree.tree_unflatten(tensors, structure)
        with torch.inference_mode():
            found = network(*args, **kwargs)
        return [_array(tensor) for tensor in pytree.tree_leaves(found)]

    known = gives if len(gives) == len(outputs) else ()
    return Predictor(run, inputs=specs, outputs=outputs, gives=known)


def _example(nodes: Mapping[str, Any], name: object) -> Any:
    value = nodes[name].meta.get("val") if isinstance(name, str) and name in nodes else None
    if not isinstance(value, torch.Tensor):
        raise BadModel(f"the program takes {name!r}, which is no tensor: export it with tensors alone")
    return value


def _spec(name: str, value: Any) -> TensorSpec:
    # A size that is an expression is a free dimension.
    shape = tuple(size if isinstance(size, int) else None for size in value.shape)
    dtype = CARRIED_AS.get(value.dtype, value.dtype)
    return TensorSpec(name, str(dtype).removeprefix("torch."), shape)


def _array(tensor: Any) -> Array:
    if not isinstance(tensor, torch.Tensor):
        return np.asarray(tensor)
    found: Array = tensor.to(CARRIED_AS.get(tensor.dtype, tensor.dtype)).numpy()
    return found

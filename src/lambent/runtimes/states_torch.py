"""Tensors of torch as buffers: tied ones stay tied, and views stay views of one storage."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any, Final

from lambent.runtimes.states_parts import Lent, Reduce

DEVICES: Final = frozenset({"cpu", "cuda"})


def reducers(lending: Lent) -> Mapping[type, Reduce]:
    """How tensors and storages are taken apart; anything else goes torch's own way, down to its storages."""
    import torch

    storages = _Storages(lending)

    def tensor(it: Any) -> Any:
        if it.layout is not torch.strided or it.device.type not in DEVICES or not _plain(it):
            return NotImplemented
        storage = storages.of(it.untyped_storage())
        place = (it.storage_offset(), tuple(it.shape), it.stride())
        return _tensor, (storage, it.dtype, *place, it.requires_grad, type(it) is torch.nn.Parameter)

    def typed(it: Any) -> Any:
        return _typed, (storages.of(it._untyped_storage), it.dtype)  # noqa: SLF001 - as torch's own pickles do

    return {
        torch.Tensor: tensor,
        torch.nn.Parameter: tensor,
        torch.storage.TypedStorage: typed,
        _Storage: _Storage.reduced,
    }


def _plain(tensor: Any) -> bool:
    odd = tensor.is_quantized or tensor.is_conj() or tensor.is_neg() or tensor.is_nested
    return not odd and not vars(tensor)


class _Storages:
    """One `_Storage` for each storage, so that the pickle has it once."""

    def __init__(self, lending: Lent) -> None:
        self._lending: Final = lending
        self._seen: Final[dict[int, _Storage]] = {}

    def of(self, storage: Any) -> _Storage:
        key = storage._cdata  # noqa: SLF001 - the identity of a storage, as torch.save uses it
        found = self._seen.get(key)
        if found is None:
            found = self._seen[key] = _Storage(storage, self._lending)
        return found


class _Storage:
    def __init__(self, storage: Any, lending: Lent) -> None:
        self._storage: Final = storage if storage.device.type == "cpu" else storage.cpu()
        self._device: Final = str(storage.device)
        self._lending: Final = lending

    def reduced(self) -> Any:
        size = self._storage.nbytes()
        if not size:
            return _storage, (b"", self._device)
        memory = (ctypes.c_ubyte * size).from_address(self._storage.data_ptr())
        return _storage, (self._lending.lend(memoryview(memory).cast("B")), self._device)


def _storage(content: Any, device: str) -> Any:
    import torch

    size = len(content)
    storage = torch.UntypedStorage(size)
    if size:
        target = (ctypes.c_ubyte * size).from_address(storage.data_ptr())
        memoryview(target).cast("B")[:] = content
    return storage if device == "cpu" else torch.UntypedStorage(size, device=device).copy_(storage)


def _typed(storage: Any, dtype: Any) -> Any:
    import torch

    return torch.storage.TypedStorage(wrap_storage=storage, dtype=dtype, _internal=True)


def _tensor(
    storage: Any,
    dtype: Any,
    offset: int,
    shape: Sequence[int],
    stride: Sequence[int],
    requires_grad: int,
    parameter: int,
) -> Any:
    import torch

    tensor = torch.empty(0, dtype=dtype, device=storage.device).set_(storage, offset, shape, stride)
    if parameter:
        return torch.nn.Parameter(tensor, requires_grad=bool(requires_grad))
    return tensor.requires_grad_() if requires_grad else tensor

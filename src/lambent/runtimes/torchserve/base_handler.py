"""`BaseHandler`, which handlers of TorchServe's are made from: load a module of torch's, run it on a batch.

After TorchServe's documents (custom_service.md, default_handlers.md). torch is imported as it loads.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Final

from lambent.runtimes.torchserve.words import list_classes_from_module, load_label_mapping

LABELS: Final = "index_to_name.json"


class BaseHandler:
    """`initialize` once, then `handle` for each batch: `preprocess`, `inference`, `postprocess`."""

    def __init__(self) -> None:
        self.model: Any = None
        self.mapping: dict[str, str] | None = None
        self.device: Any = None
        self.initialized = False
        self.context: Any = None
        self.model_pt_path: str | None = None
        self.manifest: Any = None
        self.map_location: str | None = None
        self.explain = False
        self.target = 0
        self.model_yaml_config: dict[str, Any] = {}

    def initialize(self, context: Any) -> None:
        """Load the archive's model: TorchScript, or the class of its `modelFile` with the weights beside it.

        Raises `RuntimeError` where there is neither, and what torch raises.
        """
        import torch

        self.context = context
        self.manifest = context.manifest
        self.model_yaml_config = getattr(context, "model_yaml_config", None) or {}
        self.map_location = "cpu"
        self.device = torch.device(self.map_location)
        folder = Path(context.system_properties["model_dir"])
        told = self.manifest["model"]
        if serialized := told.get("serializedFile"):
            self.model_pt_path = str(folder / serialized)
        if source := told.get("modelFile"):
            self.model = self._load_pickled_model(str(folder), source, self.model_pt_path)
        elif self.model_pt_path and self.model_pt_path.endswith((".pt", ".pth", ".ts")):
            self.model = self._load_torchscript_model(self.model_pt_path)
        else:
            raise RuntimeError(
                f"the archive's serializedFile is {serialized!r}: a BaseHandler loads TorchScript (.pt), or "
                "weights for the class in a modelFile; for any other, write initialize(self, context)"
            )
        self.model.to(self.device)
        self.model.eval()
        self.mapping = load_label_mapping(folder / LABELS)
        self.initialized = True

    def preprocess(self, data: Any) -> Any:
        """The batch as a tensor."""
        import torch

        return torch.as_tensor(data, device=self.device)

    def inference(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        """What the model makes of it."""
        import torch

        with torch.inference_mode():
            return self.model(data.to(self.device), *args, **kwargs)

    def postprocess(self, data: Any) -> Any:
        """A list with an answer for each request."""
        return data.tolist()

    def handle(self, data: Any, context: Any) -> Any:
        """Answer a batch."""
        self.context = context
        return self.postprocess(self.inference(self.preprocess(data)))

    def _load_torchscript_model(self, model_pt_path: str) -> Any:
        import torch

        jit: Any = torch.jit  # its functions have no types
        return jit.load(model_pt_path, map_location=self.device)

    def _load_pickled_model(self, model_dir: str, model_file: str, model_pt_path: str | None) -> Any:
        """The one class of a module, with its weights. Raises `ValueError` where there are more classes."""
        import torch

        module = importlib.import_module(Path(model_file).stem)
        classes = list_classes_from_module(module)
        modules = (
            [one for one in classes if issubclass(one, torch.nn.Module)] if len(classes) > 1 else classes
        )
        if len(modules) != 1:
            names = ", ".join(one.__name__ for one in classes) or "none"
            raise ValueError(f"{model_file} must define one class, the model's; it defines {names}")
        model = modules[0]()
        if model_pt_path:
            model.load_state_dict(torch.load(model_pt_path, map_location=self.device, weights_only=True))
        return model

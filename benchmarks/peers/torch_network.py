"""A torch network of a given size, as an App for Lambent and as a script for a fresh process.

    torch_network.py WEIGHTS   load the weights as torch's own documentation shows, answer once, end

LAYERS square layers of WIDTH each; without layers it is a small classifier of digits. A TUNED one has other
numbers than the one with the same layers in TUNED_LAYERS of them, and no biases: one tensor is one layer.
"""

import sys
from pathlib import Path

import torch
from torch import nn

LAYERS = 0
WIDTH = 784
TUNED = 0
TUNED_LAYERS = 0


def network() -> nn.Module:
    """The network, with weights of its own."""
    if LAYERS:
        return nn.Sequential(*(nn.Linear(WIDTH, WIDTH, bias=not TUNED_LAYERS) for _ in range(LAYERS)))
    return nn.Sequential(nn.Linear(WIDTH, 128), nn.ReLU(), nn.Linear(128, 10), nn.Softmax(-1))


def answer(net: nn.Module) -> list[float]:
    """The start of what it says to one input."""
    with torch.inference_mode():
        said: list[float] = net(torch.full((1, WIDTH), 0.5))[0, :10].tolist()
    return said


if __name__ == "__main__":
    fresh = network()
    fresh.load_state_dict(torch.load(sys.argv[1], weights_only=True))
    print(answer(fresh.eval()), flush=True)
else:
    import lambent

    app = lambent.App(Path(__file__).stem)

    @app.model(name=Path(__file__).stem, train="fit", workers_max=16)
    class Network:
        """Weights mapped, one answer rehearsed."""

        def load(self, model: lambent.ModelFiles) -> None:
            """Once per template."""
            with torch.device("meta"):
                empty = network()
            self.net = model.load_into(empty).eval()
            answer(self.net)

        def predict(self, inputs: object) -> list[float]:
            """The same for every input: the arithmetic is what counts."""
            return answer(self.net)

    @app.job(memory="8GiB")
    def fit(run: lambent.Run) -> None:
        """Random weights."""
        torch.manual_seed(1)
        net = network()
        torch.manual_seed(1 + TUNED)
        for layer in range(TUNED_LAYERS):
            nn.init.normal_(net[layer].weight)
        torch.save(net.state_dict(), run.model_dir / "net.pt")

"""The package `loss-landscapes` on a torch linear layer, in an interpreter of its own.

    python loss_landscapes_peer.py FOLDER STEPS

FOLDER has W.npy, X.npy and y.npy. Prints one line of JSON with the versions and the loss at W. Then
draws a plane of STEPS × STEPS points for every line on standard input and prints the plane's lowest
loss. Needs torch, NumPy and loss-landscapes, nothing else.
"""

import json
import sys
from importlib import metadata
from pathlib import Path

import loss_landscapes
import loss_landscapes.metrics
import numpy as np
import torch


def main(folder: str, steps: int) -> None:
    W, X, y = (torch.from_numpy(np.load(Path(folder, f"{name}.npy"))) for name in "WXy")
    model = torch.nn.Linear(W.shape[1], W.shape[0], bias=False).requires_grad_(False)
    model.weight.copy_(W)
    # The hinge loss; torch divides the sum over the classes by C, which is the same work.
    hinge, y = torch.nn.MultiMarginLoss(), y.long()
    metric = loss_landscapes.metrics.Loss(hinge, X, y)
    versions = [f"{name} {metadata.version(name)}" for name in ("loss-landscapes", "torch")]
    loss = W.shape[0] * hinge(model(X), y).item()
    print(json.dumps({"versions": ", ".join(versions), "loss": loss}), flush=True)
    for _ in sys.stdin:
        # A copy, or the package leaves the model where its grid ends.
        plane = loss_landscapes.random_plane(
            model, metric, distance=1, steps=steps, deepcopy_model=True
        )
        print(W.shape[0] * plane.min(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

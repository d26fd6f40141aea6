"""From PyTorch to ONNX Runtime, pruned and retrained on the way. Writes model.* and pruned.* in the working folder."""

# --- example
import numpy as np
import onnxruntime
import torch
from torch import nn

import clprune


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.inner = nn.Sequential(convolution, nn.BatchNorm2d(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.inner(x))


# any classifier does, such as torchvision.models.resnet18(weights="DEFAULT")
module = nn.Sequential(
    nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4), Residual(32), Residual(32),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
)  # fmt: skip
model = clprune.from_torch(module.eval(), torch.rand(1, 3, 32, 32))
model.save("model")

clprune.prune(
    "model.cfg",
    data="digits-on-photos",  # as --data: folder:PATH for images of your own
    count=256,  # images per epoch; leave it out to take all
    sparsity=0.75,
    epochs=1,
    out="pruned",
)
exported = clprune.export("pruned.cfg", onnx="pruned.onnx")
print(f"{exported.path}, {exported.bytes / 1e6:.2f} MB")

images = np.random.default_rng(0).random((1, 3, 32, 32), np.float32)
session = onnxruntime.InferenceSession("pruned.onnx")
answer = session.run(None, {"images": images})[0]
with clprune.Runner("pruned.cfg") as runner:
    print("the same answer" if np.allclose(runner(images), answer, rtol=1e-3, atol=1e-5) else "another answer")
# --- end

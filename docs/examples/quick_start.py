"""From a darknet model to answers. Reads model.cfg, model.weights, model.names and dog.png of the working folder."""

# --- example
import clprune
from clprune.image import preprocess

model = clprune.load_model("model.cfg", "model.weights")
shape = model.network.input
image = preprocess(clprune.load_image("dog.png"), height=shape.height, width=shape.width)

with clprune.Runner(model) as runner:
    answer = runner(image[None])[0]  # float32 [N, 3, H, W] to float32 [N, outputs], for any N
print(model.names[answer.argmax()], f"{answer.max():.1%}")
# --- end

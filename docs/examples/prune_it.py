"""Prune a model and retrain it. Reads model.cfg and model.weights of the working folder, writes model-pruned.*."""

# --- example
import clprune

result = clprune.prune(
    "model.cfg",
    data="digits-on-photos",  # as --data: folder:PATH for images of your own
    count=512,  # images per epoch; leave it out to take all
    sparsity=0.75,
    epochs=1,
    out="model-pruned",
    progress=lambda at: print(f"{at.stage} {at.place}", end="\r"),
)
assert result.before is not None and result.after is not None
print(f"{result.before.accuracy:.1%} in {result.before.best_ms:.3f} ms before")
print(f"{result.after.accuracy:.1%} in {result.after.best_ms:.3f} ms after")
# --- end

"""Check, tune and time a model. Reads model.cfg and model.weights of the working folder."""

# --- example
import clprune

for device in clprune.devices():
    print(device.selector, device.name)

checked = clprune.verify("model.cfg")
print("right" if checked.is_within else f"wrong: {checked.wrong}")

clprune.tune("model.cfg", effort="quick")  # kept, and used from then on
timed = clprune.bench("model.cfg")
print(f"{timed.best_ms:.3f} ms, {timed.share_of_peak:.0%} of the device's peak")
for layer in timed.layers:
    print(layer.label, f"{layer.best_ms:.3f} ms", layer.algorithm)
# --- end

"""Find objects in pictures. Reads detector.cfg and detector.weights of the working folder, and dog.png."""

# --- example
import clprune

with clprune.Detector("detector.cfg", threshold=0.25, batch=4) as detector:
    for found in detector("dog.png"):
        print(f"{found.name} {found.confidence:.0%} at {found.center_x:.2f}, {found.center_y:.2f}")
    for objects in detector.many(["dog.png"] * 8):  # decoded by threads, four at once on the device
        print(len(objects), "objects")
# --- end

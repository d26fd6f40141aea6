"""Tables of tiles that are shipped with the library, by class of device: `python -m tools.shipped`."""

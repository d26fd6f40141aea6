"""Kernel templates (Mako, OpenCL C 1.2); installed as `clprune.templates`."""

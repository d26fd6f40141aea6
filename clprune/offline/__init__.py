"""GPUs that are not there: kernels compiled for them, what the compilers report, and tiles ranked by it.

Nothing here needs an OpenCL driver or a card. `compilers` makes assembly with clang (and ptxas for NVIDIA), `report`
reads registers, local memory, spills and the inner loop's instructions from it, `occupancy` computes how many
work-groups a compute unit holds, `ranking` orders tiles by estimated time.
"""

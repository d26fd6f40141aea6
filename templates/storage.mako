## How weights lie in device memory (clprune/kernels/storage.py): in registers they are float32, whatever the storage.
##
## storage   "float32"; "float16"; "int8": linear codes, the row's scale is multiplied to its sum; "codebook8", "codebook4":
##           places in a table of 256 or 16 float32 values, of which 4-bit ones lie two to a byte
## Half pointers and vload_half are core OpenCL C; half arithmetic is not.

## The type of what `weights` points to.
<%def name="stored_type()" filter="trim">
${{"float32": "float", "float16": "half", "int8": "char", "codebook8": "uchar", "codebook4": "uchar"}[storage]}
</%def>

## Kernel parameters behind `weights` that only some storages read.
<%def name="storage_parameters()">
          __global const float *restrict scales,
          __global const float *restrict codebook
</%def>

## Weight number `index` as float32; one-lane codebook4 has the even index in a byte's low bits.
<%def name="weight(pointer, index)" buffered="True" filter="trim">
% if storage == "float32":
${pointer}[${index}]
% elif storage == "float16":
vload_half(${index}, ${pointer})
% elif storage == "int8":
(float)${pointer}[${index}]
% elif storage == "codebook8":
codebook[${pointer}[${index}]]
% else:
codebook[${pointer}[(${index}) >> 1] >> (((${index}) & 1) << 2) & 15]
% endif
</%def>

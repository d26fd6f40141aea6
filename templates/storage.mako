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
<%def name="storage_parameters()" filter="trim">
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

## `width` weights from number `index` on, a multiple of `width`, as float32. Codebooks need look_up_function before the
## kernel and table_setup in it.
<%def name="weights_at(pointer, index, width)" buffered="True" filter="trim">
% if storage == "float32":
${vector_load(width, f"{pointer} + {index}")}
% elif storage == "float16":
vload_half${"" if width == 1 else width}(0, ${pointer} + ${index})
% elif storage == "int8":
convert_${vector_type("float", width)}(${vector_load(width, f"{pointer} + {index}")})
% elif storage == "codebook8":
look_up(${vector_load(width, f"{pointer} + {index}")}, table)
% elif width == 1:
look_up(${pointer}[(${index}) >> 1] >> (((${index}) & 1) << 2) & 15, table)
% else:
look_up(unpack(${pointer} + ((${index}) >> 1)), table)
% endif
</%def>

## Turns codes into values. A vector of 4-bit codes is one permutation of a table in registers where a work-item is alone
## (CPU drivers); elsewhere each lane reads the table, which a work-group keeps in local memory.
<%def name="look_up_function(width, is_alone)">
% if storage.startswith("codebook"):
<%
    is_unpacked = storage == "codebook4" and width > 1
    T, C = vector_type("float", width), vector_type("uint" if is_unpacked else "uchar", width)
    shifts = ", ".join(str(4 * (lane % 8)) for lane in range(width))
%>
% if is_alone:
#define TABLE_SPACE __global
% else:
#define TABLE_SPACE __local
% endif
% if is_alone and is_unpacked:
inline ${T} look_up(const ${C} codes, const float16 table) { return shuffle(table, codes); }
% else:
inline ${T} look_up(const ${C} codes, TABLE_SPACE const float *table)
{
    return (${T})(${", ".join("table[codes]" if width == 1 else f"table[codes.s{'0123456789abcdef'[lane]}]" for lane in range(width))});
}
% endif
% if is_unpacked:
## A word holds the codes of eight lanes (four: half a word): each lane shifts its own down.
inline ${C} unpack(__global const uchar *p)
{
% if width == 16:
    __global const uint *words = (__global const uint *)p;
    const uint16 is_upper = (uint16)(0, 0, 0, 0, 0, 0, 0, 0, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u);
    return select((uint16)(words[0]), (uint16)(words[1]), is_upper) >> (uint16)(${shifts}) & (uint16)(15);
% else:
    return (${C})(*(__global const ${{2: "uchar", 4: "ushort", 8: "uint"}[width]} *)p) >> (${C})(${shifts}) & (${C})(15);
% endif
}
% endif
% endif
</%def>

## Brings the codebook to where look_up reads it; `item` is the work-item's number in a work-group of `items`.
<%def name="table_setup(item, items, width)">
% if storage.startswith("codebook"):
% if items > 1:
<% entries = 16 if storage == "codebook4" else 256 %>
    __local float table[${entries}];
    for (int entry = ${item}; entry < ${entries}; entry += ${items}) table[entry] = codebook[entry];
    barrier(CLK_LOCAL_MEM_FENCE);
% elif storage == "codebook4" and width > 1:
    const float16 table = vload16(0, codebook);
% else:
    __global const float *table = codebook;
% endif
% endif
</%def>

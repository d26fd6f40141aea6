## Shared pieces of GPU kernels whose work-groups bring inputs and weights to local memory: the product
##
##   c[m, p] += sum_k W[m, k] * x[k, p]    over one list of kept columns k, which all rows m of a work-group follow
##
## A work-item computes tile_m rows at `parts` vectors of four positions, a work-group group_m * tile_m rows at `width`
## positions. It walks through the list in chunks of tile_k columns: while it multiplies one chunk from one half of its local
## memory, the next is on its way from global memory to registers, from which it goes to the other half. One barrier a chunk;
## what is multiplied is read as vectors of four.
##
## What these pieces read: the variables of clprune/kernels/register_tile.py; of the kernel
##   columns, group_list, w   the list's length with its fill, where it begins, and the work-group's first weights
##   item, local_m, local_n   its number in the work-group, and its places along rows and positions
##   c<row>_<part>            its results, float4, which have their first values
##   INPUT(offset, place)     stage_width inputs of a list's entry, a multiple of stage_width positions behind its first
## Where neighbouring positions do not lie side by side, a kernel brings inputs in its own way: `inputs` in what follows has
## defs fetch_inputs(first), stage_inputs(half) and declare_inputs(), which put entry k of a chunk, `line` words each, into
## staged_x as those here do.
## Lists are filled up to whole chunks; behind the last one as much is there again, and so are weights.
##
## Source: the register tile and both stages are those of dense matrix products on GPUs (Volkov & Demmel, SC 2008; Nath,
## Tomov, Dongarra, IJHPCA 2010; NVIDIA's CUTLASS).
<%namespace name="storages" file="storage.mako"/>
## INPUT of inputs that lie from `base` on, in vectors of any place or, where `is_aligned`, of multiples of stage_width. AMD's
## loads add 32 bits of a work-item to a base that the warp shares, so that a sum in 64 bits is not needed.
<%def name="input_macro(base, is_aligned=False)">
<% X = vector_type("float", stage_width) %>
#ifdef __AMDGCN__
% if stage_width == 1 or is_aligned:
#define INPUT(offset, place) (*(__global const ${X} *)((__global const char *)${base} + ((uint)(offset) * 4u + (place) * 4u)))
% else:
#define INPUT(offset, place) vload${stage_width}(0, (__global const float *)((__global const char *)${base} + ((uint)(offset) * 4u + (place) * 4u)))
% endif
#else
% if stage_width == 1:
#define INPUT(offset, place) (${base} + (offset))[place]
% elif is_aligned:
#define INPUT(offset, place) (*(__global const ${X} *)((${base} + (offset)) + (place)))
% else:
#define INPUT(offset, place) vload${stage_width}(0, (${base} + (offset)) + (place))
% endif
#endif
</%def>
## What a work-item reads so many bytes behind an address that its warp shares. AMD's loads add 32 bits of a work-item to such
## an address, but LLVM would keep the sum instead, an address for each work-item, and add to that in every turn: bytes that
## are hidden from it in every turn cannot be part of that. Loads reach 4 KiB around, so that WEIGHTS(start, n) of the second
## next chunk (n = 1) have bytes of their own.
<%def name="place_macros()">
#define BEHIND(type, shared, bytes) ((__global const type *)((__global const char *)(shared) + (bytes)))
#ifdef __AMDGCN__
#define HIDE(name) __asm__("" : "+v"(name))
#define WEIGHTS(start, chunk) BEHIND(${storages.stored_type()}, w + (start), weight_place##chunk)
#else
#define HIDE(name)
#define WEIGHTS(start, chunk) (w + ((start) + chunk * ${tile_k * group_rows}))
#endif
</%def>
## Packed multiply-adds read either half of a pair of registers, but LLVM copies the halves of a vector's second pair to
## registers of their own: 32 copies for 512 multiply-adds. Hidden from it, the pair is read as it is.
<%def name="pair_macro()">
#if defined(__gfx90a__) || defined(__gfx940__) || defined(__gfx941__) || defined(__gfx942__) || defined(__gfx950__)
#define PAIR(name) __asm__("" : "+v"(name))
#else
#define PAIR(name)
#endif
</%def>
## Where this work-item's inputs of a column lie, in place0, ...: `place(q)` prints that of position q of the work-group.
<%def name="staged_places(place)">
% if column_step > 1:
## AMD's warps of 64 work-items then fetch one column each, whose offset is a scalar to them.
% if lanes_per_column % 64 == 0:
#ifdef __AMDGCN__
    const int staged_column = __builtin_amdgcn_readfirstlane(item / ${lanes_per_column});
#else
    const int staged_column = item / ${lanes_per_column};
#endif
% else:
    const int staged_column = item / ${lanes_per_column};
    uint entry_place = staged_column * (uint)sizeof(int);
% endif
    const int staged_position = (item - staged_column * ${lanes_per_column}) * ${stage_width};
    const uint place0 = ${place("staged_position")};
% else:
% for n in range(staged_positions):
    const uint place${n} = ${place(f"(item + {n * items})" + (f" * {stage_width}" if stage_width > 1 else ""))};
% endfor
% endif
</%def>
## Weights that are on their way lie in registers as in memory, and are float32 in local memory. (One by one, those of float16
## are float32 from the first: only a vector's bytes may be read as those of any type.)
<%def name="code_type(width)" filter="trim">
${vector_type({"float32": "float", "float16": "ushort" if width > 1 else "float", "int8": "char"}[storage], width)}
</%def>
<%def name="codes_at(pointer, width)" buffered="True" filter="trim">
${f"vload_half(0, {pointer})" if storage == "float16" and width == 1 else f"*(__global const {capture(code_type, width)} *){pointer}"}
</%def>
<%def name="decoded(codes, width)" buffered="True" filter="trim">
% if storage == "float16" and width > 1:
vload_half${width}(0, (const half *)&${codes})
% elif storage == "int8":
convert_${vector_type("float", width)}(${codes})
% else:
${codes}
% endif
</%def>
## Brings chunk `number`, counted from where the loop is, into registers.
<%def name="fetch(number, inputs)">
${inputs.fetch_inputs(number * tile_k)}
% for step, start in enumerate(range(0, group_rows * tile_k, weight_width * items)):
<% place = f"WEIGHTS({min(number, 1) * group_rows * tile_k + start}, {max(number - 1, 0)})" %>
    next_w${step} = ${codes_at(place, weight_width)};
% endfor
</%def>
<%def name="fetch_inputs(first)">
% if column_step == 1:
% for k in range(0, tile_k, 4):
    const int4 offsets${k} = *(__global const int4 *)(group_list + ${first + k});
% endfor
% for k in range(tile_k):
% for n in range(staged_positions):
    next_x${k}_${n} = INPUT(offsets${k // 4 * 4}.s${k % 4}, place${n});
% endfor
% endfor
% else:
% if lanes_per_column % 64:
    HIDE(entry_place);
% endif
% for k in range(0, tile_k, column_step):
% if lanes_per_column % 64:
    next_x${k}_0 = INPUT(*BEHIND(int, group_list + ${first + k}, entry_place), place0);
% else:
    next_x${k}_0 = INPUT(group_list[${first + k} + staged_column], place0);
% endif
% endfor
% endif
</%def>
## Puts what was fetched into a half of local memory.
<%def name="stage(half, inputs)">
${inputs.stage_inputs(half)}
% for step, start in enumerate(range(0, group_rows * tile_k, weight_width * items)):
    *(__local ${vector_type("float", weight_width)} *)(staged_w + ${half * tile_k * group_rows + start} + item * ${weight_width}) = ${decoded(f"next_w{step}", weight_width)};
% endfor
</%def>
<%def name="stage_inputs(half)">
% for k in range(0, tile_k, column_step):
% for n in range(staged_positions):
    *(__local ${vector_type("float", stage_width)} *)(staged_x + ${half * tile_k * line + k * line + n * items * stage_width} + item * ${stage_width}) = next_x${k}_${n};
% endfor
% endfor
</%def>
<%def name="declare_inputs()">
        ${vector_type("float", stage_width)} ${", ".join(f"next_x{k}_{n}" for k in range(0, tile_k, column_step) for n in range(staged_positions))};
</%def>
## Multiplies the chunk in a half of local memory, and brings the next one to the other half. Behind the last chunk comes
## the beginning of another list, or fill: it is not used.
<%def name="turn(half, inputs)">
            {
            HIDE(weight_place${half});
            ${fetch(half + 1, inputs)}
#pragma unroll
            for (int k = ${half * tile_k}; k < ${(half + 1) * tile_k}; k++) {
% for i in range(0, tile_m, 4):
                const float4 a${i} = tile_w[k * ${group_rows // 4} + ${i // 4}];
                float2 a${i}_lo = a${i}.lo, a${i}_hi = a${i}.hi;
                PAIR(a${i}_hi);
% endfor
% for v in range(part_count):
                const float4 b${v} = tile_x[k * ${line // 4} + ${v * run // 4}];
% endfor
% for i in range(tile_m):
                { const float4 a = (float4)(a${i // 4 * 4}_${"hi" if i % 4 > 1 else "lo"}.s${i % 2});
% for v in range(part_count):
                c${i}_${v} = MULTIPLY_ADD(a, b${v}, c${i}_${v});
% endfor
                }
% endfor
            }
            ${stage(1 - half, inputs)}
            barrier(CLK_LOCAL_MEM_FENCE);
            }
</%def>
## All chunks of the list, one after another.
<%def name="multiply_columns(inputs=None)">
<%
    inputs = inputs or local
    weight_steps = range(0, group_rows * tile_k, weight_width * items)
%>
    __local float staged_x[${2 * tile_k * line}] __attribute__((aligned(16)));
    __local float staged_w[${2 * tile_k * group_rows}] __attribute__((aligned(16)));
    __local const float4 *tile_x = (__local const float4 *)staged_x + local_n;
    __local const float4 *tile_w = (__local const float4 *)staged_w + local_m * ${tile_m // 4};
    if (columns > 0) {
#ifdef __AMDGCN__
        uint weight_place0 = item * ${weight_width} * (uint)sizeof(*w), weight_place1 = weight_place0 + ${tile_k * group_rows} * (uint)sizeof(*w);
#else
        w += item * ${weight_width};
#endif
        ${inputs.declare_inputs()}
        ${code_type(weight_width)} ${", ".join(f"next_w{number}" for number, _ in enumerate(weight_steps))};
        ${fetch(0, inputs)}
        ${stage(0, inputs)}
        barrier(CLK_LOCAL_MEM_FENCE);
        ## The loop ends behind all of its work: LLVM for AMD moves products across a branch that stands between.
        int left = columns;
        do {
            ${turn(0, inputs)}
            if (left <= ${tile_k}) break;
            ${turn(1, inputs)}
            group_list += ${2 * tile_k};
            w += ${2 * tile_k * group_rows};
            left -= ${2 * tile_k};
        } while (left > 0);
    }
</%def>

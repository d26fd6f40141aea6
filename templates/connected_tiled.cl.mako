## Fully connected layer for GPUs and many images, dense or with columns removed, whose inputs and weights a work-group shares
## by way of local memory; bias and activation fused.
##
##   y[n, m] = activate(bias[m] + sum_k W[m, k] * x[n, offset[k]])
##
## A work-group computes group_m * tile_m outputs of group_n * vectors * 4 images, all of which follow one list of kept
## columns, chunk by chunk: see register_tile.mako, whose positions are images here. An image's inputs lie side by side, and
## so do kept columns for the most part: neighbouring work-items fetch neighbouring entries of the list, each of a few images,
## and put them into local memory as one vector, in lines that lie so far apart that those of a chunk begin in different banks.
## Entries of the list are fetched a chunk before the inputs that they say. The last work-group along images is moved back to
## end with the batch: what two of them share is computed, and written, twice alike.
##
## Layout   x: image n begins at x_origin + n * x_image_stride; y[n, m] at y_origin + n * y_image_stride + m * y_channel_stride
##          blocks[row block of tile_m][6], offsets, weights, bias, scales: as in conv_tiled.cl.mako
##          part_sums[split][work-group][result][work-item], where splits > 1
##
## tile_m        outputs per work-item, a multiple of 4;  vectors: vectors of four images per work-item
## group_m, group_n  work-items of a work-group along row blocks and along images
## tile_k        columns of a chunk
## entries       of a chunk that a work-group fetches at once, each work-item one, of every images_at_once-th stage_width images
## is_filled     1: the batch has fewer images than a work-group, which computes the last one again in their place
## splits        work-groups that share the columns of a list, for layers of few outputs: as in conv_tiled.cl.mako
##
## Source: register_tile.mako, with the split of K of NVIDIA's CUTLASS; unit = rows of a work-group x 1.
<%namespace name="common" file="common.mako"/>
<%namespace name="storages" file="storage.mako"/>
<%namespace name="register_tile" file="register_tile.mako"/>
<%
    parts, rows = range(part_count), range(tile_m)
    results = tile_m * part_count * 4
%>
${common.multiply_add_macro()}
${common.activation_function(activation, 4)}
${register_tile.place_macros()}
${register_tile.pair_macro()}
## Input at `offset` of the image at `place`, or so many images behind it. AMD's loads add 32 bits of a work-item to a base
## that the warp shares; elsewhere the loads of several images take fewest registers by sums of 32 bits, those of a single one
## by an address with the offset.
#ifdef __AMDGCN__
#define INPUT(offset, place, images) (*(__global const float *)((__global const char *)(x + (images) * x_image_stride) + ((uint)(offset) * 4u + (place) * 4u)))
#else
% if stage_width > 1:
#define INPUT(offset, place, images) x[(uint)(offset) + (place) + (images) * (uint)x_image_stride]
% else:
#define INPUT(offset, place, images) (x + (offset))[(place) + (images) * x_image_stride]
% endif
#endif
<%def name="input(k, n, e)" filter="trim">
% if is_filled:
INPUT(offset${k}, place${n + e}, 0)
% else:
INPUT(offset${k}, place${n}, ${e})
% endif
</%def>
## Of the list the entry that this work-item fetches of those from `k` on.
<%def name="entry(k)" buffered="True" filter="trim">
*BEHIND(int, group_list + ${k}, entry_place)
</%def>
<%def name="declare_inputs()">
        uint entry_place = staged_entry * (uint)sizeof(int);
        ${vector_type("float", stage_width)} ${", ".join(f"next_x{k}_{n}" for k in range(0, tile_k, entries) for n in range(0, width, images_at_once))};
        int ${", ".join(f"offset{k} = {entry(k)}" for k in range(0, tile_k, entries))};
</%def>
<%def name="fetch_inputs(first)">
    HIDE(entry_place);
% for k in range(0, tile_k, entries):
% for n in range(0, width, images_at_once):
    next_x${k}_${n} = (${vector_type("float", stage_width)})(${", ".join(capture(local.input, k, n, e) for e in range(stage_width))});
% endfor
    offset${k} = ${entry(first + tile_k + k)};
% endfor
</%def>
## Compilers see that vectors lie where vectors begin. (Oclgrind 21.10 stores one that was put together, by an assignment, as
## undefined, then part by part.)
<%def name="stage_inputs(half)">
% for k in range(0, tile_k, entries):
% for n in range(0, width, images_at_once):
    ${vector_store(stage_width, f"next_x{k}_{n}", f"staged_x + {half * tile_k * line + k * line + n} + staged_place")}
% endfor
% endfor
</%def>
<%def name="parameters()" filter="trim">
                     ${storages.storage_parameters()},
                     __global const int *restrict blocks,
                     __global const float *restrict bias,
                     __global float *restrict y,
                     const int batch,
                     const int y_origin,
                     const int y_image_stride,
                     const int y_channel_stride
</%def>
## Which results a work-item has.
<%def name="work_item()">
    const int local_m = ${"get_local_id(1)" if group_m > 1 else "0"}, local_n = ${"get_local_id(0)" if group_n > 1 else "0"};
    const int n_group = get_group_id(0), m_group = get_group_id(1), block = m_group * ${group_m} + local_m;
    const int item = local_m * ${group_n} + local_n;
    const int first_image = ${"0" if is_filled else f"min(n_group * {width}, batch - {width})"};
</%def>
## Which rows they are of: read where they are stored, for the sake of registers.
<%def name="stored_rows()">
    const int first_row = blocks[block * 6 + 3], block_rows = blocks[block * 6 + 4];
</%def>
## The first result of this work-item among the sums of the first split, and results of a split.
<%def name="part_sums()" filter="trim">
part_sums + (size_t)(m_group * get_num_groups(0) + n_group) * ${results * items} + item
</%def>
<%def name="split_size()" filter="trim">
(size_t)get_num_groups(0) * get_num_groups(1) * ${results * items}
</%def>
## Adds the bias of row `i` of the block, activates, and stores the row's results where it and their images are.
<%def name="store(i, c)">
    {
% if storage == "int8":
        const float4 scale = (float4)(scales[block * ${tile_m} + ${i}]), shift = (float4)(bias[block * ${tile_m} + ${i}]);
% else:
        const float4 shift = (float4)(bias[block * ${tile_m} + ${i}]);
% endif
        __global float *out = y + y_origin + (size_t)(first_row + ${i}) * y_channel_stride;
        if (${i} < block_rows) {
% for v in parts:
            {
                const float4 r = activate(${f"MULTIPLY_ADD({c}_{v}, scale, shift)" if storage == "int8" else f"{c}_{v} + shift"});
                const int image = first_image + ${v * run} + local_n * 4;
% for e in range(4):
                ${f"if (image + {e} < batch) " if is_filled else ""}out[(size_t)(image + ${e}) * y_image_stride] = r.s${e};
% endfor
            }
% endfor
        }
    }
</%def>
__kernel ${work_group_attributes(group_n, group_m, 1)}
void connected_tiled(__global const float *restrict x,
                     __global const ${storages.stored_type()} *restrict weights,
                     __global const int *restrict offsets,
% if splits > 1:
                     __global float *restrict part_sums,
% endif
                     const int x_origin,
                     const int x_image_stride,
                     ${parameters()})
{
    ${work_item()}
    ## The first row block's, which all have: a work-group's own, so that GPUs with scalar units load it once per warp.
    const int all_columns = blocks[m_group * ${group_m * 6} + 1];
% if splits == 1:
    const int first_column = 0, columns = all_columns;
% else:
    const int columns_each = (all_columns / ${tile_k} + ${splits - 1}) / ${splits} * ${tile_k};
    const int first_column = min((int)get_group_id(2) * columns_each, all_columns);
    const int columns = min(columns_each, all_columns - first_column);
% endif
    __global const int *group_list = offsets + blocks[m_group * ${group_m * 6}] + first_column;
    __global const ${storages.stored_type()} *w = weights + blocks[m_group * ${group_m * 6} + 2] + first_column * ${group_rows};
    const int staged_row = item / ${entries}, staged_entry = item - staged_row * ${entries}, staged_image = staged_row * ${stage_width};
    const int staged_place = staged_entry * ${line} + staged_image;
% for n in range(0, width, images_at_once):
% if is_filled:
% for e in range(stage_width):
    const uint place${n + e} = x_origin + min(staged_image + ${n + e}, batch - 1) * x_image_stride;
% endfor
% else:
    const uint place${n} = x_origin + (first_image + staged_image + ${n}) * x_image_stride;
% endif
% endfor
% for i in rows:
% for v in parts:
    float4 c${i}_${v} = (float4)(${c_float(0)});
% endfor
% endfor
    ${register_tile.multiply_columns(local)}
% if splits > 1:
    ## One by one, for the sake of the loop: see conv_tiled.cl.mako.
    __global float *const found = ${part_sums()} + get_group_id(2) * ${split_size()};
% for i in rows:
% for v in parts:
% for e in range(4):
    found[${((i * part_count + v) * 4 + e) * items}] = c${i}_${v}.s${e};
% endfor
% endfor
% endfor
}
## Adds up what the splits found: a work-group of it one row of each row block of a work-group above.
__kernel ${work_group_attributes(group_n, group_m, 1)}
void connected_tiled_add(__global const float *restrict part_sums,
                     ${parameters()})
{
    ${work_item()}
    const int row = get_group_id(2);
    __global const float *found = ${part_sums()} + row * ${part_count * 4 * items};
<%
    def found_vector(v):
        """The vector of a split's sums at `found`, as an expression."""
        return f"(float4)({', '.join(f'found[{(v * 4 + e) * items}]' for e in range(4))})"
%>
% for v in parts:
    float4 sum_${v} = ${found_vector(v)};
% endfor
#pragma unroll 4
    for (int split = 1; split < ${splits}; split++) {
        found += ${split_size()};
% for v in parts:
        sum_${v} += ${found_vector(v)};
% endfor
    }
    ${stored_rows()}
    ${store("row", "sum")}
}
% else:
    ${stored_rows()}
% for i in rows:
    ${store(i, f"c{i}")}
% endfor
}
% endif

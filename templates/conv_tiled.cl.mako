## Direct convolution for GPUs, dense or with columns removed, whose inputs and weights a work-group shares by way of local
## memory; bias, activation and, where `pooled`, the 2x2 max pooling that follows are fused.
##
##   y[m, p] = activate(bias[m] + sum_k W[m, k] * x[in(p) + offset[k]])
##   pooled:  y[m, q] = max of these over the four positions p of output q
##   added:   y[m, p] = activate_sum(that + other[m, p]), a shortcut
##
## A work-group computes group_m * tile_m output channels at group_n * vectors * vector_width positions, all of which follow
## one list of kept columns, chunk by chunk: see register_tile.mako.
##
## Layout   x, y, valid: see conv.cl.mako
##          blocks[row block of tile_m][6]: start of the list, its columns with fill, start of the values, first row, rows;
##          group_m row blocks have one list and one set of values
##          offsets: lists of input offsets, filled up to whole chunks
##          weights[list entry][group_m * tile_m]: zeros for rows and columns that only fill up; bias, scales[row]
##          part_sums[split][work-group][result][work-item], where splits > 1
##
## tile_m        output channels per work-item, a multiple of 4
## vector_width  positions per vector (4);  vectors: slots of positions per work-item, each a vector, or two of a pooled layer
## group_m, group_n  work-items of a work-group along row blocks and along positions
## tile_k        columns of a chunk
## stage_width   positions that a work-item fetches at once: 4 where loads of vectors need no alignment (AMD), strides of 1
## splits        work-groups that share the columns of a list, for layers of few positions: each multiplies some of its chunks,
##               and conv_tiled_add adds up what they found, in their order, so that sums do not depend on who came first
## mapping       "flat" or "rows";  sweep: see conv.cl.mako
##
## Source: register_tile.mako; the split of K is CUTLASS's; inputs gathered by offsets as in Escort (arXiv:1802.10280).
<%namespace name="common" file="common.mako"/>
<%namespace name="convolution" file="convolution.mako"/>
<%namespace name="storages" file="storage.mako"/>
<%namespace name="register_tile" file="register_tile.mako"/>
<%
    T = "float4"
    row_step = 2 if pooled else 1
    parts, rows = range(part_count), range(tile_m)
    results = tile_m * len(parts) * vector_width
    store_width = vector_width // row_step

    def found_vector(v):
        """The vector of a split's sums at `found`, as an expression."""
        places = [(v * vector_width + element) * items for element in range(vector_width)]
        return f"({T})({', '.join(f'found[{place}]' for place in places)})"
%>
${common.multiply_add_macro()}
${common.activation_function(activation, vector_width)}
${common.sum_functions()}
${common.partial_store_function(store_width)}
% if pooled:
${convolution.pool_function()}
% endif
${register_tile.input_macro("x")}
${register_tile.place_macros()}
${register_tile.pair_macro()}
## Where staged position `q` of the work-group is read, from x.
<%def name="input_place(q)" filter="trim">
% if mapping == "flat":
    x_origin + n_group * ${vectors * run} + ${q}
% else:
    place_of(${q}, n_group, slot_count, slots_per_row, rows_per_image, x_origin, x_pitch, x_image_stride)
% endif
</%def>
% if mapping == "rows":
inline int place_of(const int q, const int n_group, const int slot_count, const int slots_per_row, const int rows_per_image,
                    const int x_origin, const int x_pitch, const int x_image_stride)
{
    const int part = q / ${run}, in_part = q - part * ${run};
    const int slot = min(n_group * ${group_n * vectors} + part / ${row_step} * ${group_n} + in_part / ${vector_width}, slot_count - 1);
    const int row = slot / slots_per_row;
    const int column = (slot - row * slots_per_row) * ${vector_width} + in_part % ${vector_width};
    const int image = row / rows_per_image;
    const int input_row = (row - image * rows_per_image) * ${row_step} + part % ${row_step};
    return x_origin + image * x_image_stride + input_row * ${stride_y} * x_pitch + column * ${stride_x};
}
% endif
## The first result of this work-item among the sums of the first split, and results of a split.
<%def name="part_sums()" filter="trim">
part_sums + (size_t)group * ${results * items} + item
</%def>
<%def name="split_size()" filter="trim">
get_num_groups(0) * ${results * items}
</%def>
__kernel ${work_group_attributes(group_n, group_m, 1)}
void conv_tiled(__global const float *restrict x,
% if added:
                __global const float *restrict other,
                const int other_shift,
% endif
                __global const ${storages.stored_type()} *restrict weights,
                ${storages.storage_parameters()},
                __global const int *restrict offsets,
                __global const int *restrict blocks,
                __global const float *restrict bias,
                __global const char *restrict valid,
                __global float *restrict y,
% if splits > 1:
                __global float *restrict part_sums,
% endif
                const int block_count,
                ${convolution.position_parameters()})
{
% if added:
    __global float *const y_start = y;
    other += other_shift;
% endif
    ${convolution.work_group()}
    ## The first row block's, which all have: a work-group's own, so that GPUs with scalar units load it once per warp.
% if splits == 1:
    const int columns = blocks[m_group * ${group_m * 6} + 1];
    __global const int *group_list = offsets + blocks[m_group * ${group_m * 6}];
% else:
    const int all_columns = blocks[m_group * ${group_m * 6} + 1];
    const int columns_each = (all_columns / ${tile_k} + ${splits - 1}) / ${splits} * ${tile_k};
    const int first_column = min((int)get_group_id(2) * columns_each, all_columns);
    const int columns = min(columns_each, all_columns - first_column);
    __global const int *group_list = offsets + blocks[m_group * ${group_m * 6}] + first_column;
% endif
    const int item = local_m * ${group_n} + local_n;
    ${register_tile.staged_places(input_place)}
    __global const ${storages.stored_type()} *w = weights + blocks[m_group * ${group_m * 6} + 2]${f" + first_column * {group_rows}" if splits > 1 else ""};
% for i in rows:
% if splits == 1 and storage != "int8":
    const float bias${i} = bias[block * ${tile_m} + ${i}];
% endif
% for v in parts:
    ${T} c${i}_${v} = (${T})(${c_float(0) if storage == "int8" or splits > 1 else f"bias{i}"});
% endfor
% endfor
    ${register_tile.multiply_columns()}
% if splits > 1:
    ## One by one, for the sake of the loop: ptxas gathers a vector that is stored in neighbouring registers, in every turn.
    __global float *const found = ${part_sums()} + (size_t)get_group_id(2) * ${split_size()};
% for i in rows:
% for v in parts:
% for e in range(vector_width):
    found[${((i * len(parts) + v) * vector_width + e) * items}] = c${i}_${v}.s${e};
% endfor
% endfor
% endfor
}
## Adds up what the splits found: a work-group of it one row of each row block of a work-group above.
__kernel ${work_group_attributes(group_n, group_m, 1)}
void conv_tiled_add(__global const float *restrict part_sums,
% if added:
                    __global const float *restrict other,
                    const int other_shift,
% endif
                    ${storages.storage_parameters()},
                    __global const int *restrict offsets,
                    __global const int *restrict blocks,
                    __global const float *restrict bias,
                    __global const char *restrict valid,
                    __global float *restrict y,
                    const int block_count,
                    ${convolution.position_parameters()})
{
% if added:
    __global float *const y_start = y;
    other += other_shift;
% endif
    ${convolution.work_group()}
    __global const float *x = part_sums;  // which positions() moves to the first slot; nothing is read there
    const int item = local_m * ${group_n} + local_n, row = get_group_id(2);
    __global const float *found = ${part_sums()} + row * ${results // tile_m * items};
% for v in parts:
    ${T} c0_${v} = ${found_vector(v)};
% endfor
#pragma unroll 4
    for (int split = 1; split < ${splits}; split++) {
        found += ${split_size()};
% for v in parts:
        c0_${v} += ${found_vector(v)};
% endfor
    }
% if storage != "int8":
% for v in parts:
    c0_${v} += (${T})(bias[block * ${tile_m} + row]);
% endfor
% else:
    const ${T} scale = (${T})(scales[block * ${tile_m} + row]), shift = (${T})(bias[block * ${tile_m} + row]);
% for v in parts:
    c0_${v} = MULTIPLY_ADD(c0_${v}, scale, shift);
% endfor
% endif
## Of the rows that store() writes there is the first one.
% for i in rows[1:]:
% for v in parts:
    const ${T} c${i}_${v} = (${T})(${c_float(0)});
% endfor
% endfor
    ${convolution.positions()}
    const int row_descriptor[6] = {0, 0, 0, descriptor[3] + row, min(max(descriptor[4] - row, 0), 1), 0};
    {
    const int *descriptor = row_descriptor;
    ${convolution.store()}
    }
}
% else:
% if storage == "int8":
% for i in rows:
    { const ${T} scale = (${T})(scales[block * ${tile_m} + ${i}]), shift = (${T})(bias[block * ${tile_m} + ${i}]);
% for v in parts:
    c${i}_${v} = MULTIPLY_ADD(c${i}_${v}, scale, shift);
% endfor
    }
% endfor
% endif
    ${convolution.positions()}
    ${convolution.store()}
}
% endif

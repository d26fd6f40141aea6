## Fully connected layer, dense or with columns removed, bias and activation fused.
##
##   y[n, m] = activate(bias[m] + sum_k W[m, k] * x[n, offset[k]])
##
## At batch 1 this is bound by reading W once, so W is laid out in the order in which it is read:
## weights[row block][kept column][tile_m], tile_m = group_m * vectors * vector_width rows. Neighbouring work-items read
## neighbouring rows of one column; each x value is broadcast.
##
## Layout   x: image n begins at x_origin + n * x_image_stride; y[n, m] at y_origin + n * y_image_stride + m * y_channel_stride
##          blocks, offsets, weights, bias, scales: as in conv.cl.mako
##
## vector_width  rows per vector;  vectors: vectors per work-item
## group_m       work-items of a work-group side by side along rows
## group_k       work-items of a work-group that share a row block's columns; their sums meet in local memory
## tile_n        images per work-item: each weight is read once for all of them
## k_unroll      columns per turn of the inner loop
## storage       of the weights, see storage.mako: fewer bits are less memory traffic, sums are float32 in all of them
##
## Source: memory-bound matrix-vector product; unit = tile_m x 1 as in BCBP (AAAI 2023).
<%namespace name="common" file="common.mako"/>
<%namespace name="shared" file="connected.mako"/>
<%namespace name="storages" file="storage.mako"/>
<%
    T = vector_type("float", vector_width)
    tile_m = group_m * vectors * vector_width
    slots, images = range(vectors), range(tile_n)
    work_group_size = group_m * group_k
%>
${common.multiply_add_macro()}
${common.activation_function(activation, vector_width)}
${common.partial_store_function(vector_width)}
${storages.look_up_function(vector_width, work_group_size == 1)}
<%def name="columns(count)">
% for u in range(count):
    {
        const size_t a = first + (size_t)(k + ${u * group_k}) * ${tile_m};
        const int o = list[k + ${u * group_k}];
% for j in slots:
        const ${T} a${j} = ${storages.weights_at("weights", f"a + {j * group_m * vector_width}", vector_width)};
% endfor
% for n in images:
        { const ${T} b = (${T})(x${n}[o]);
% for j in slots:
        c${n}_${j} = MULTIPLY_ADD(a${j}, b, c${n}_${j});
% endfor
        }
% endfor
    }
% endfor
</%def>
__kernel ${work_group_attributes(group_m, group_k, 1)}
void connected(__global const float *restrict x,
               __global const ${storages.stored_type()} *restrict weights,
               ${storages.storage_parameters()},
               __global const int *restrict offsets,
               __global const int *restrict blocks,
               __global const float *restrict bias,
               __global float *restrict y,
               const int batch,
               const int x_origin,
               const int x_image_stride,
               const int y_origin,
               const int y_image_stride,
               const int y_channel_stride)
{
    ${shared.row_block()}
    ${storages.table_setup(f"local_k * {group_m} + local_m", work_group_size, vector_width)}
% for n in images:
    __global const float *x${n} = x + x_origin + (size_t)min(image + ${n}, batch - 1) * x_image_stride;
% for j in slots:
    ${T} c${n}_${j} = (${T})(${c_float(0)});
% endfor
% endfor
    ${shared.loop(columns, "kept")}
    ${shared.add_partial_sums("c", T)}
    ${shared.store(lambda n, j: f"MULTIPLY_ADD(c{n}_{j}, scale, b)" if storage == "int8" else f"c{n}_{j} + b", storage == "int8")}
}

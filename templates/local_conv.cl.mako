## Convolution whose filters differ at every place (darknet's [local]): a product of a matrix and the columns of a batch for
## each output position. Bound by memory: each weight is read once for `tile_n` images.
##
##   y[n, m, p] = activate(bias[m, p] + sum_k W[p, m, k] * x[n, in(p) + offsets[k]])
##
## m: output channel; p: output position; k = (input channel, filter row, filter column): each is one offset into the
## padded input. The lanes of a vector, and neighbouring work-items, are output channels: they load neighbouring weights,
## and all of them the same input.
##
## Layout   x, y: see clprune/layout.py; tile_m = group_m * vectors * vector_width
##          weights[p][block of tile_m channels][k][tile_m], bias[p][block][tile_m]: filled with zeros
##
## vector_width  output channels per vector;  vectors: vectors per work-item
## group_m       work-items of a work-group, along output channels
## tile_n        images per work-item
## k_unroll      columns per turn of the inner loop
## stride_y, stride_x  of the windows
##
## Source: locally connected layers as in darknet's local_layer.c; the layout of weights is our own.
<%namespace name="common" file="common.mako"/>
<%
    T = vector_type("float", vector_width)
    step, tile_m = group_m * vector_width, group_m * vectors * vector_width
    images, slots = range(tile_n), range(vectors)
%>
${common.multiply_add_macro()}
${common.activation_function(activation, vector_width)}
<%def name="columns(count)">
% for u in range(count):
        {
% for v in slots:
            const ${T} a${v} = ${vector_load(vector_width, f"w + {u * tile_m + v * step}")};
% endfor
% for n in images:
            { const ${T} b = (${T})(x${n}[offsets[k + ${u}]]);
% for v in slots:
            c${v}_${n} = MULTIPLY_ADD(a${v}, b, c${v}_${n});
% endfor
            }
% endfor
        }
% endfor
</%def>
__kernel ${work_group_attributes(group_m, 1, 1)}
void local_conv(__global const float *restrict x,
                __global const float *restrict weights,
                __global const int *restrict offsets,
                __global const float *restrict bias,
                __global float *restrict y,
                const int column_count,
                const int out_channels,
                const int out_width,
                const int batch,
                const int x_origin,
                const int x_pitch,
                const int x_image_stride,
                const int y_origin,
                const int y_pitch,
                const int y_image_stride,
                const int y_channel_stride)
{
    const int place = get_global_id(1), first_image = get_global_id(2) * ${tile_n};
    const int row = place / out_width, column = place - row * out_width;
    const size_t block = (size_t)place * get_num_groups(0) + get_group_id(0);
    __global const float *w = weights + block * column_count * ${tile_m} + get_local_id(0) * ${vector_width};
    __global const float *start = bias + block * ${tile_m} + get_local_id(0) * ${vector_width};
    x += x_origin + row * ${stride_y} * x_pitch + column * ${stride_x};
% for n in images:
    __global const float *x${n} = x + min(first_image + ${n}, batch - 1) * x_image_stride;
% endfor
% for v in slots:
    const ${T} bias${v} = ${vector_load(vector_width, f"start + {v * step}")};
% for n in images:
    ${T} c${v}_${n} = bias${v};
% endfor
% endfor
    int k = 0;
% if k_unroll > 1:
    for (; k + ${k_unroll} <= column_count; k += ${k_unroll}) {
        ${columns(k_unroll)}
        w += ${k_unroll * tile_m};
    }
% endif
    for (; k < column_count; k++) {
        ${columns(1)}
        w += ${tile_m};
    }
% if group_m == 1:
    float lanes[${vector_width}];
% endif
% for n in images:
    if (first_image + ${n} < batch) {
% for v in slots:
        {
            const ${T} r = activate(c${v}_${n});
% if group_m == 1:
            ${vector_store(vector_width, "r", "lanes")}
% endif
            const int first = get_group_id(0) * ${tile_m} + ${v * step} + get_local_id(0) * ${vector_width};
            __global float *out = y + y_origin + (size_t)first * y_channel_stride + (first_image + ${n}) * y_image_stride
                                  + row * y_pitch + column;
% if group_m == 1:
            for (int lane = 0; lane < ${vector_width} && first + lane < out_channels; lane++)
                out[(size_t)lane * y_channel_stride] = lanes[lane];
% else:
            ## One by one: an array that a variable indexes is no register of a GPU.
% for lane in range(vector_width):
            if (first + ${lane} < out_channels) out[${lane} * (size_t)y_channel_stride] = r${"" if vector_width == 1 else f".s{lane}"};
% endfor
% endif
        }
% endfor
    }
% endfor
}

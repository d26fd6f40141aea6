## Max pooling with darknet's padding rule: the window of output i begins at i * stride - padding / 2 (padding in total,
## integer division), and what lies outside the image does not count.
##
##   y[n, c, i, j] = max over r, s of x[n, c, i * stride - before + r, j * stride - before + s]
##
## Layout   see clprune/layout.py
## vector_width  outputs that a work-item computes at once
## group_n       work-items of a work-group, which share the vectors of a row
## group_rows    rows of the output that a work-group works on side by side, each by group_n work-items
## tile_rows     output rows per work-group: CPU drivers want few large work-groups
## inside        no window leaves the image: no comparison with its borders
<%
    T = vector_type("float", vector_width)
    lanes = range(vector_width)
    span = 2 * vector_width

    def element(name, lane):
        """One lane of a vector, which OpenCL spells differently for a vector of one."""
        return name if vector_width == 1 else f"{name}.s{'0123456789abcdef'[lane]}"
%>
<%namespace name="common" file="common.mako"/>
${common.partial_store_function(vector_width)}
__kernel ${work_group_attributes(group_n, group_rows, 1)}
void max_pool(__global const float *restrict x,
              __global float *restrict y,
              const int in_height,
              const int in_width,
              const int out_height,
              const int out_width,
              const int batch,
              const int x_origin,
              const int x_pitch,
              const int x_image_stride,
              const int x_channel_stride,
              const int y_origin,
              const int y_pitch,
              const int y_image_stride,
              const int y_channel_stride)
{
    const int channel = get_global_id(2) / batch, image = get_global_id(2) - channel * batch;
    __global const float *plane = x + x_origin + (size_t)channel * x_channel_stride + (size_t)image * x_image_stride;
    const int last_row = min((int)(get_group_id(1) + 1) * ${tile_rows}, out_height);
    for (int row = get_group_id(1) * ${tile_rows}${' + get_local_id(1)' if group_rows > 1 else ''}; row < last_row; row += ${group_rows}) {
        const int first_row = row * ${stride} - ${before};
        for (int column = get_local_id(0) * ${vector_width}; column < out_width; column += ${group_n * vector_width}) {
            const int first_column = column * ${stride} - ${before};
            ${T} best = (${T})(-FLT_MAX);
% for r in range(size):
% if not inside:
            if (first_row + ${r} >= 0 && first_row + ${r} < in_height)
% endif
            {
                __global const float *p = plane + (first_row + ${r}) * x_pitch;
% for s in range(size):
% if not inside:
% for lane in lanes:
                { const int i = first_column + ${lane * stride + s};
                  if (i >= 0 && i < in_width && p[i] > ${element("best", lane)}) ${element("best", lane)} = p[i]; }
% endfor
% elif stride == 1 or vector_width == 1:
                { const ${T} v = ${vector_load(vector_width, f"p + first_column + {s}")}; best = v > best ? v : best; }
% elif stride == 2 and vector_width <= 8:
                { const ${T} v = ${vector_load(span, f"p + first_column + {s}")}.even; best = v > best ? v : best; }
% else:
                { const ${T} v = (${T})(${", ".join(f"p[first_column + {lane * stride + s}]" for lane in lanes)}); best = v > best ? v : best; }
% endif
% endfor
            }
% endfor
            __global float *out = y + y_origin + (size_t)channel * y_channel_stride + (size_t)image * y_image_stride + row * y_pitch + column;
            const int count = out_width - column;
            if (count >= ${vector_width}) { ${vector_store(vector_width, "best", "out")} }
            else store_first(best, count, out);
        }
    }
}

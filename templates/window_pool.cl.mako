## Pooling: the maximum, or the mean, of windows. What lies outside the image never is the maximum; in a mean it counts for
## nothing, or as zero where `counts_border`.
##
##   y[n, c, i, j] = max (mean) over r, s of x[n, c, i * stride_y - top + r * dilation_y, j * stride_x - left + s * dilation_x]
##   depth_channels:  y[n, c, i, j] = max of x[n, k, i, j] over k = c, c + depth_channels, c + 2 * depth_channels, ...
##
## Layout   see clprune/layout.py
## vector_width  outputs that a work-item computes at once
## group_n       work-items of a work-group, which share the vectors of a row
## group_rows    rows of the output that a work-group works on side by side, each by group_n work-items
## tile_rows     output rows per work-group: CPU drivers want few large work-groups
## row_places, column_places  of a window, from its first row and column on; stride_y, stride_x, top, left: see
##               clprune.geometry.Window
## inside        no window leaves the image: no comparison with its borders
## line          not 0: windows that leave the image are taken apart. A work-group brings the maxima (sums) of the windows'
##               columns for a whole row of the output, so many values with the border, into local memory, and goes through
##               them by rows: no comparison with the border but there, and all in vectors
<%
    T = vector_type("float", vector_width)
    lanes = range(vector_width)
    span = 2 * vector_width

    def element(name, lane):
        """One lane of a vector, which OpenCL spells differently for a vector of one."""
        return name if vector_width == 1 else f"{name}.s{'0123456789abcdef'[lane]}"

    def combine(value):
        """Statements that take a vector of values in."""
        return f"best += {value};" if is_average else f"const {T} v = {value}; best = v > best ? v : best;"

    def combine_lane(best, value):
        """A statement that takes a single value in."""
        return f"{best} += {value};" if is_average else f"{best} = {value} > {best} ? {value} : {best};"

    border = c_float(0) if is_average else "-FLT_MAX"

    def inside_count(first, places, limit):
        """How many places, from `first` on, lie in the image, as an expression."""
        return " + ".join(f"({first} + {place} >= 0 && {first} + {place} < {limit})" for place in places)
%>
<%namespace name="common" file="common.mako"/>
${common.partial_store_function(vector_width)}
<%def name="mean()">
% if is_average and (inside or counts_border):
            best /= (${T})(${c_float(len(row_places) * len(column_places))});
% elif is_average:
            const int rows_inside = ${inside_count("first_row", row_places, "in_height")};
% for lane in lanes:
            ${element("best", lane)} /= (float)(rows_inside * (${inside_count(f"first_column + {lane * stride_x}", column_places, "in_width")}));
% endfor
% endif
</%def>
<%def name="store()">
            __global float *out = y + y_origin + (size_t)channel * y_channel_stride + (size_t)image * y_image_stride + row * y_pitch + column;
            const int count = out_width - column;
            if (count >= ${vector_width}) { ${vector_store(vector_width, "best", "out")} }
            else store_first(best, count, out);
</%def>
<%def name="by_columns_and_rows()">
    __local float lines[${group_rows * line}];
    __local float *line = lines + get_local_id(1) * ${line};
    for (int start = get_group_id(1) * ${tile_rows}; start < last_row; start += ${group_rows}) {
        const int row = start + get_local_id(1), first_row = row * ${stride_y} - ${top};
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int place = get_local_id(0) * ${vector_width}; place < ${line}; place += ${group_n * vector_width}) {
            const int column = place - ${left};
            ${T} best = (${T})(${border});
            if (column >= 0 && column + ${vector_width} <= in_width) {
                for (int r = 0; r < ${len(row_places)}; r++) {
                    const int in_row = first_row + r * ${dilation_y};
                    if (in_row >= 0 && in_row < in_height) { ${combine(vector_load(vector_width, "plane + in_row * x_pitch + column"))} }
                }
            } else {
                for (int r = 0; r < ${len(row_places)}; r++) {
                    const int in_row = first_row + r * ${dilation_y};
                    if (in_row >= 0 && in_row < in_height) {
                        __global const float *p = plane + in_row * x_pitch + column;
% for lane in lanes:
                        if (column + ${lane} >= 0 && column + ${lane} < in_width) { ${combine_lane(element("best", lane), f"p[{lane}]")} }
% endfor
                    }
                }
            }
            ${vector_store(vector_width, "best", "line + place")}
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int column = get_local_id(0) * ${vector_width}; row < last_row && column < out_width; column += ${group_n * vector_width}) {
            const int first_column = column * ${stride_x} - ${left};
            __local const float *p = line + column * ${stride_x};
            ${T} best = (${T})(${border});
% for s in column_places:
% if stride_x == 1:
            { ${combine(vector_load(vector_width, f"p + {s}"))} }
% else:
            { ${combine(f"({T})(" + ", ".join(f"p[{lane * stride_x + s}]" for lane in lanes) + ")")} }
% endif
% endfor
            ${mean()}
            ${store()}
        }
    }
</%def>
__kernel ${work_group_attributes(group_n, group_rows, 1)}
void ${function}(__global const float *restrict x,
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
% if line:
${by_columns_and_rows()}
% else:
    for (int row = get_group_id(1) * ${tile_rows}${' + get_local_id(1)' if group_rows > 1 else ''}; row < last_row; row += ${group_rows}) {
        const int first_row = row * ${stride_y} - ${top};
        for (int column = get_local_id(0) * ${vector_width}; column < out_width; column += ${group_n * vector_width}) {
            const int first_column = column * ${stride_x} - ${left};
            ${T} best = (${T})(${border});
% if depth_channels:
            for (int k = channel; k < ${channels}; k += ${depth_channels})
% endif
% for r in row_places:
% if not inside:
            if (first_row + ${r} >= 0 && first_row + ${r} < in_height)
% endif
            {
                __global const float *p = plane + ${f"(size_t)(k - channel) * x_channel_stride + " if depth_channels else ""}(first_row + ${r}) * x_pitch;
% for s in column_places:
% if not inside:
% for lane in lanes:
                { const int i = first_column + ${lane * stride_x + s};
                  if (i >= 0 && i < in_width${"" if is_average else f" && p[i] > {element('best', lane)}"}) ${element("best", lane)} ${"+=" if is_average else "="} p[i]; }
% endfor
% elif stride_x == 1 or vector_width == 1:
                { ${combine(vector_load(vector_width, f"p + first_column + {s}"))} }
% elif stride_x == 2 and vector_width <= 8:
                { ${combine(vector_load(span, f"p + first_column + {s}") + ".even")} }
% else:
                { ${combine(f"({T})(" + ", ".join(f"p[first_column + {lane * stride_x + s}]" for lane in lanes) + ")")} }
% endif
% endfor
            }
% endfor
            ${mean()}
            ${store()}
        }
    }
% endif
}

## Depthwise convolution: every output channel has one input channel. Bias and activation are fused.
##
##   y[m, p] = activate(bias[m] + sum_k W[m, k] * x[m / multiplier, in(p) + offset(k)])
##
## On CPUs a work-item goes over the tiles that follow each other in a plane, and in the next planes: `tile_rows` whole output
## rows, vector by vector. On GPUs it computes one vector of `tile_rows` rows, and its neighbours in the work-group the next
## vectors, of these rows and then of the next tiles: what they load and store together lies side by side.
##
## Per input row of a vector it loads one vector for each column of the window (on GPUs each input once), which all windows
## share that lie over the row; a row of results begins at the first input row of its windows and is stored after the last.
## So no more of them are held than windows are high, all weights stay in registers, and an input is loaded once per column
## of the window for `tile_rows` outputs. The last vector of a row, and the last tile of a plane, are moved back to end with
## it: what two of them share is computed, and written, twice alike.
##
## Layout   x, y: see clprune/layout.py; rows of an image are written with the zeros of the gap between them
##          weights[m][window row][window column], bias[m]: float32 however the model stores them, which is little here
##
## vector_width  output positions per vector
## tile_rows     output rows per tile
## group_n       work-items of a work-group, each with a vector of its own; 1: a work-item has whole rows
## turns         tiles of a work-item, which one after another compute what a driver needs longer to hand out one by one
## multiplier    output channels per input channel;  is_single: 1 where the batch is one image
## stored        lanes of a vector that are output positions: all, or a whole row of fewer
##
## Source: rows of results that stay in registers while input rows go by, as in "High Performance Depthwise and Pointwise
## Convolutions on Mobile Devices" (Zhang et al., AAAI 2020), here along planes.
<%namespace name="common" file="common.mako"/>
<%
    T = vector_type("float", vector_width)
    # Input rows of a tile, each with the (row of results, row of the window) that meet there.
    meetings = {}
    for row in range(tile_rows):
        for y in range(size_y):
            meetings.setdefault(row * stride_y + y * dilation_y, []).append((row, y))
    columns = [x * dilation_x for x in range(size_x)]
    is_shared = group_n > 1
    # Inputs of a line that the vector's windows lie over.
    line_width = (vector_width - 1) * stride_x + columns[-1] + 1

    # What is stored is more than half of a vector: all of it, or two halves that overlap.
    half = vector_width // 2
    pieces = [(0, vector_width)] if stored == vector_width else [(0, half), (stored - half, half)]

    def lanes(name, first, count):
        """`count` lanes of a vector from number `first` on."""
        return name if count == vector_width else f"{name}.s" + "".join(f"{first + i:x}" for i in range(count))

    def spaced(pointer):
        """Inputs of a vector that lie `stride_x` apart."""
        if stride_x == 1:
            return vector_load(vector_width, pointer)
        return f"({T})({', '.join(f'({pointer})[{lane * stride_x}]' for lane in range(vector_width))})"
%>
${common.multiply_add_macro()}
${common.activation_function(activation, vector_width)}
% if stride_x == 2 and vector_width > 1 and not is_shared:
## Of two neighbouring vectors every second lane, from the first or the second on.
% for name, first in (("EVEN", 0), ("ODD", 1)):
#define ${name}(a, b) ((${T})(${", ".join(f"({'ab'[lane // vector_width]}).s{lane % vector_width:x}" for lane in range(first, 2 * vector_width, 2))}))
% endfor
% endif
## x<line>_<column of the window>: inputs of input row `line`. Of every second pixel two vectors are loaded and put together
## where a real CPU's compiler makes instructions of that; elsewhere it becomes shuffles with undefined lanes.
<%def name="load_line(line)">
            __global const float *p${line} = in + ${line} * x_pitch;
% if is_shared:
## One by one: compilers make vectors of them where a device has loads of vectors of any place.
% for number in range(line_width):
            const float in${line}_${number} = p${line}[${number}];
% endfor
% for x, column in enumerate(columns):
            const ${T} x${line}_${x} = (${T})(${", ".join(f"in{line}_{lane * stride_x + column}" for lane in range(vector_width))});
% endfor
% elif stride_x == 2 and vector_width > 1:
#ifdef HAS_CPU_PREFETCH
% for pair in sorted({column // 2 for column in columns}):
            const ${T} low${line}_${pair} = ${vector_load(vector_width, f"p{line} + {2 * pair}")};
            const ${T} high${line}_${pair} = ${vector_load(vector_width, f"p{line} + {2 * pair + vector_width}")};
% endfor
% for x, column in enumerate(columns):
            const ${T} x${line}_${x} = ${"ODD" if column % 2 else "EVEN"}(low${line}_${column // 2}, high${line}_${column // 2});
% endfor
#else
            ${load_spaced(line)}
#endif
% else:
            ${load_spaced(line)}
% endif
</%def>
<%def name="load_spaced(line)">
% for x, column in enumerate(columns):
            const ${T} x${line}_${x} = ${spaced(f"p{line} + {column}")};
% endfor
</%def>
__kernel ${work_group_attributes(group_n, 1, 1)}
void depthwise(__global const float *restrict x,
               __global const float *restrict weights,
               __global const float *restrict bias,
               __global float *restrict y,
               const int tile_count,
               const int batch,
               const int tiles_per_image,
               const int last_row,
               const int out_height,
               const int out_width,
               const int x_origin,
               const int x_pitch,
               const int x_image_stride,
               const int x_channel_stride,
               const int y_origin,
               const int y_pitch,
               const int y_image_stride,
               const int y_channel_stride)
{
% if is_shared:
    ## Divisions of unsigned numbers take GPUs two thirds of the time.
    const uint item = get_global_id(0), row_vectors = (out_width + ${vector_width - 1}) / ${vector_width}, number = item / row_vectors;
    const int tile = number, vector_in_row = item - number * row_vectors;
    if (tile < tile_count) {
        const int plane = number / (uint)tiles_per_image, channel = ${"plane" if is_single else "(uint)plane / (uint)batch"}, image = plane - channel * batch;
% else:
    const int first = get_group_id(0) * ${turns}, behind = min(first + ${turns}, tile_count);
    for (int tile = first; tile < behind; tile++) {
        const int plane = tile / tiles_per_image, channel = plane / batch, image = plane - channel * batch;
% endif
        const int row = min((tile - plane * tiles_per_image) * ${tile_rows}, last_row);
        __global const float *in = x + (x_origin - ${top} * x_pitch - ${left}) + image * x_image_stride
                                   + (size_t)(channel${f" / {multiplier}" if multiplier > 1 else ""}) * x_channel_stride + row * ${stride_y} * x_pitch;
        __global float *out = y + y_origin + image * y_image_stride + (size_t)channel * y_channel_stride + row * y_pitch;
        __global const float *w = weights + channel * ${size_y * size_x};
        const ${T} first_sum = (${T})(bias[channel]);
% for place in range(size_y * size_x):
        const ${T} w${place} = (${T})(w[${place}]);
% endfor
% if is_shared:
        const int wanted = vector_in_row * ${vector_width};
% endif
% if stored == vector_width:
        ${"{" if is_shared else f"for (int wanted = 0; wanted < out_width; wanted += {vector_width}) {{"}
            const int back = max(wanted + ${vector_width} - out_width, 0);
            __global const float *in_row = in;
            __global float *out_row = out;
            {
            __global const float *in = in_row + (wanted - back) * ${stride_x};
            __global float *out = out_row + (wanted - back);
% else:
        {
            {
% endif
% for line, met in sorted(meetings.items()):
            ${load_line(line)}
% for row, y in met:
% for x in range(size_x):
            ${f"{T} c{row}" if y == x == 0 else f"c{row}"} = MULTIPLY_ADD(w${y * size_x + x}, x${line}_${x}, ${"first_sum" if y == x == 0 else f"c{row}"});
% endfor
% if y == size_y - 1:
            {
                const ${T} r = activate(c${row});
% for offset, count in pieces:
                ${vector_store(count, lanes("r", offset, count), f"out + {row} * y_pitch + {offset}")}
% endfor
            }
% endif
% endfor
% endfor
            }
        }
% if is_shared:
        ## Each work-item of the rows has its share of the gaps behind them.
#pragma unroll 1
        for (int line = vector_in_row; line < ${tile_rows} && row + line + 1 < out_height; line += row_vectors)
#pragma unroll 1
% else:
        for (int line = 0; line < ${tile_rows} && row + line + 1 < out_height; line++)
% endif
            for (int gap = out_width; gap < y_pitch; gap++) out[line * y_pitch + gap] = ${c_float(0)};
    }
}

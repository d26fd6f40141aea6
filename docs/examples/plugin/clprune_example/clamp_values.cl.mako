## Every value moved into low..high:  y[n, c, i, j] = min(max(x[n, c, i, j], low), high).
##
## Layout       see clprune/layout.py
## vector_width values that a work-item computes at once
## group_n      work-items of a work-group, side by side along a row
<%
    T = vector_type("float", vector_width)
%>
<%namespace name="common" file="common.mako"/>
${common.partial_store_function(vector_width)}
__kernel ${work_group_attributes(group_n, 1, 1)}
void clamp_values(__global const float *restrict x,
                  __global float *restrict y,
                  const int batch,
                  const int width,
                  const int x_origin,
                  const int x_pitch,
                  const int x_image_stride,
                  const int x_channel_stride,
                  const int y_origin,
                  const int y_pitch,
                  const int y_image_stride,
                  const int y_channel_stride)
{
    const int column = get_global_id(0) * ${vector_width}, row = get_global_id(1);
    const int channel = get_global_id(2) / batch, image = get_global_id(2) - channel * batch;
    const int count = width - column;
    if (count <= 0) return;
    __global const float *p = x + x_origin + (size_t)channel * x_channel_stride + (size_t)image * x_image_stride;
    __global float *q = y + y_origin + (size_t)channel * y_channel_stride + (size_t)image * y_image_stride;
    // Whole vectors may be read beyond the last value (READ_MARGIN), but never written.
    ${T} v = ${vector_load(vector_width, "p + row * x_pitch + column")};
    v = v < ${c_float(low)} ? (${T})(${c_float(low)}) : v;
    v = v > ${c_float(high)} ? (${T})(${c_float(high)}) : v;
    if (count >= ${vector_width}) { ${vector_store(vector_width, "v", "q + row * y_pitch + column")} }
    else store_first(v, count, q + row * y_pitch + column);
}

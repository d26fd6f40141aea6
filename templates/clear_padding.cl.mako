## Writes zeros into the padding of a tensor whose buffer held something else: the gap behind each row, the rows under
## each image, and the run before the first and behind the last value.
##
## Layout   see clprune/layout.py; a work-item clears behind or under one row; the last plane's items clear the two runs
## group_n  work-items of a work-group along rows
__kernel __attribute__((reqd_work_group_size(${group_n}, 1, 1)))
void clear_padding(__global float *restrict y,
                   const int height,
                   const int width,
                   const int padding_rows,
                   const int planes,
                   const int batch,
                   const int origin,
                   const int pitch,
                   const int image_stride,
                   const int channel_stride)
{
    const int row = get_global_id(0), plane = get_global_id(1);
    if (plane == planes) {
        const size_t end = (size_t)origin + (size_t)(planes / batch) * channel_stride;
        for (int i = row; i < origin; i += get_global_size(0)) {
            y[i] = ${c_float(0)};
            y[end + i] = ${c_float(0)};
        }
        return;
    }
    if (row >= height + padding_rows) return;
    const int channel = plane / batch, image = plane - channel * batch;
    __global float *p = y + origin + (size_t)channel * channel_stride + (size_t)image * image_stride + row * pitch;
    for (int i = row < height ? width : 0; i < pitch; i++) p[i] = ${c_float(0)};
}

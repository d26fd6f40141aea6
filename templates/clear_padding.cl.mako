## Writes zeros into the padding of a tensor whose buffer held something else: the gap behind each row, the rows under
## each image, and the run before the first and behind the last value.
##
## Layout   see clprune/layout.py; the work-group behind the last plane clears the two runs
## gaps         False: what writes the tensor writes the gaps between its rows, too; only what follows the last value of a
##              plane is cleared
## group_n      work-items of a work-group, which share a plane
## tile_planes  planes per work-group: CPU drivers want few large work-groups
## prefetch     rows by which a work-group of one runs ahead to bring the gaps into cache (0: not at all)
<%namespace name="common" file="common.mako"/>
% if prefetch:
${common.prefetch_macros()}
% endif
__kernel ${work_group_attributes(group_n, 1, 1)}
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
    const int item = get_local_id(0), first_plane = get_group_id(1) * ${tile_planes};
    if (first_plane >= planes) {
        const size_t end = (size_t)origin + (size_t)(planes / batch) * channel_stride;
        for (int i = item; i < origin; i += ${group_n}) {
            y[i] = ${c_float(0)};
            y[end + i] = ${c_float(0)};
        }
        return;
    }
    for (int plane = first_plane; plane < min(first_plane + ${tile_planes}, planes); plane++) {
        const int channel = plane / batch, image = plane - channel * batch;
        __global float *p = y + origin + (size_t)channel * channel_stride + (size_t)image * image_stride;
% if gaps:
        for (int row = item; row < height; row += ${group_n}) {
% if prefetch:
            PREFETCH_FOR_WRITING(p + (row + ${prefetch}) * pitch + width);
% endif
            for (int i = width; i < pitch; i++) p[row * pitch + i] = ${c_float(0)};
        }
% endif
        const int last = ${"height * pitch" if gaps else "(height - 1) * pitch + width"};
        for (int i = last + item; i < (height + padding_rows) * pitch; i += ${group_n}) p[i] = ${c_float(0)};
    }
}

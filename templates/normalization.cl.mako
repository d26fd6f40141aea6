## Local response normalization across channels, with the sums that darknet makes.
##
##   y[n, c, p] = x[n, c, p] * (kappa + alpha * S)^-beta
##   S = sum of x[n, k, p]^2 over k = c - before ... c + after, without channel `skipped`
##
## darknet's running sum begins without the square of channel `after`, and carries that on to all channels
## (normalization_layer.c): S may lack a channel's square that it never had. -1: it lacks none.
##
## Layout   see clprune/layout.py
## vector_width   positions of a row that a work-item computes at once
## group_n        work-items of a work-group, along a row
## tile_channels  channels per work-item
<%namespace name="common" file="common.mako"/>
<% T = vector_type("float", vector_width) %>
${common.multiply_add_macro()}
${common.partial_store_function(vector_width)}
__kernel ${work_group_attributes(group_n, 1, 1)}
void normalization(__global const float *restrict x,
                   __global float *restrict y,
                   const int channels,
                   const int before,
                   const int after,
                   const int skipped,
                   const float alpha,
                   const float beta,
                   const float kappa,
                   const int rows_per_image,
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
    const int column = get_global_id(0) * ${vector_width}, count = out_width - column;
    if (count <= 0) return;
    const int image = get_global_id(1) / rows_per_image, row = get_global_id(1) - image * rows_per_image;
    const int end = min((int)(get_global_id(2) + 1) * ${tile_channels}, channels);
    x += x_origin + (size_t)image * x_image_stride + row * x_pitch + column;
    y += y_origin + (size_t)image * y_image_stride + row * y_pitch + column;
    ${T} missing = (${T})(${c_float(0)});
    const bool has_skipped = skipped >= 0 && skipped < channels;
    if (has_skipped) missing = ${vector_load(vector_width, "x + (size_t)skipped * x_channel_stride")};
    for (int c = get_global_id(2) * ${tile_channels}; c < end; c++) {
        ${T} sum = (${T})(${c_float(0)});
        bool has_missing = false;
        for (int k = max(c - before, 0); k <= min(c + after, channels - 1); k++) {
            if (k == skipped) { has_missing = true; continue; }
            const ${T} v = ${vector_load(vector_width, "x + (size_t)k * x_channel_stride")};
            sum = MULTIPLY_ADD(v, v, sum);
        }
        if (!has_missing) sum = sum - missing * missing;
        const ${T} v = ${vector_load(vector_width, "x + (size_t)c * x_channel_stride")};
        const ${T} result = v * pow(MULTIPLY_ADD((${T})(alpha), sum, (${T})(kappa)), (${T})(-beta));
        __global float *out = y + (size_t)c * y_channel_stride;
        if (count >= ${vector_width}) { ${vector_store(vector_width, "result", "out")} }
        else store_first(result, count, out);
    }
}

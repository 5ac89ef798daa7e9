// The mean of windows, and the way back by a gather.

#include "windows.cuh"
#include "gathering.cuh"

// How many elements a window has within the input.
#define HELD(o0, o1, o2) \
    ((nn_high(o0, STRIDE_0, BEFORE_0, WINDOW_0, SIZE_0) - nn_low(o0, STRIDE_0, BEFORE_0)) * \
     (nn_high(o1, STRIDE_1, BEFORE_1, WINDOW_1, SIZE_1) - nn_low(o1, STRIDE_1, BEFORE_1)) * \
     (nn_high(o2, STRIDE_2, BEFORE_2, WINDOW_2, SIZE_2) - nn_low(o2, STRIDE_2, BEFORE_2)))

extern "C" __global__ void nn_average_pool(
    const Stored* x, Stored* y, const long long size, const long long channels
) {
    const long long place = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= size) return;
    const long long channel = place % channels;
    const long long window = place / channels;
    SPACE_OF(window, o0, o1, o2, COUNT);
    const long long sample = window / (COUNT_0 * COUNT_1 * COUNT_2);
    Value sum = 0;
    for (int i0 = nn_low(o0, STRIDE_0, BEFORE_0); i0 < nn_high(o0, STRIDE_0, BEFORE_0, WINDOW_0, SIZE_0); ++i0)
        for (int i1 = nn_low(o1, STRIDE_1, BEFORE_1); i1 < nn_high(o1, STRIDE_1, BEFORE_1, WINDOW_1, SIZE_1); ++i1)
            for (int i2 = nn_low(o2, STRIDE_2, BEFORE_2); i2 < nn_high(o2, STRIDE_2, BEFORE_2, WINDOW_2, SIZE_2); ++i2)
                sum += LOAD(x[(((sample * SIZE_0 + i0) * SIZE_1 + i1) * SIZE_2 + i2) * channels + channel]);
    y[place] = STORE(sum / (Value)HELD(o0, o1, o2));
}

extern "C" __global__ void nn_average_pool_gradient(
    const Stored* dy, Stored* dx, const long long size, const long long channels
) {
    nn_gather_windows(dx, size, channels, [=](long long from, int, int o0, int o1, int o2) {
        return LOAD(dy[from]) / (Value)HELD(o0, o1, o2);
    });
}

// The way back of the largest element without an order: each window adds what it gives to the element that it chose.

#include "windows.cuh"

extern "C" __global__ void nn_max_pool_gradient_atomic(
    const Stored* dy, const unsigned short* chosen, Total* dx, const long long size, const long long channels
) {
    const long long place = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= size) return;
    const long long channel = place % channels;
    const long long window = place / channels;
    SPACE_OF(window, o0, o1, o2, COUNT);
    const long long sample = window / (COUNT_0 * COUNT_1 * COUNT_2);
    const int tap = chosen[place];
    const int i0 = o0 * STRIDE_0 - BEFORE_0 + tap / (WINDOW_1 * WINDOW_2);
    const int i1 = o1 * STRIDE_1 - BEFORE_1 + tap / WINDOW_2 % WINDOW_1;
    const int i2 = o2 * STRIDE_2 - BEFORE_2 + tap % WINDOW_2;
    nn_add_atomic(dx + ((((sample * SIZE_0 + i0) * SIZE_1 + i1) * SIZE_2 + i2) * channels + channel), LOAD(dy[place]));
}

// The largest element of windows, and the way back by a gather.

#include "windows.cuh"
#include "gathering.cuh"

// The first of equal maxima counts, or the first NaN; where it stands in its window is kept.
extern "C" __global__ void nn_max_pool(
    const Stored* x, Stored* y, unsigned short* chosen, const long long size, const long long channels
) {
    const long long place = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= size) return;
    const long long channel = place % channels;
    const long long window = place / channels;
    SPACE_OF(window, o0, o1, o2, COUNT);
    const long long sample = window / (COUNT_0 * COUNT_1 * COUNT_2);
    const int start_0 = o0 * STRIDE_0 - BEFORE_0;
    const int start_1 = o1 * STRIDE_1 - BEFORE_1;
    const int start_2 = o2 * STRIDE_2 - BEFORE_2;
    bool begun = false;
    Value largest = 0;
    Stored bits = 0;
    unsigned short tap = 0;
    for (int i0 = nn_low(o0, STRIDE_0, BEFORE_0); i0 < nn_high(o0, STRIDE_0, BEFORE_0, WINDOW_0, SIZE_0); ++i0)
        for (int i1 = nn_low(o1, STRIDE_1, BEFORE_1); i1 < nn_high(o1, STRIDE_1, BEFORE_1, WINDOW_1, SIZE_1); ++i1)
            for (int i2 = nn_low(o2, STRIDE_2, BEFORE_2); i2 < nn_high(o2, STRIDE_2, BEFORE_2, WINDOW_2, SIZE_2); ++i2) {
                const Stored own = x[(((sample * SIZE_0 + i0) * SIZE_1 + i1) * SIZE_2 + i2) * channels + channel];
                const Value value = LOAD(own);
                if (begun && !(value > largest || (value != value && largest == largest))) continue;
                begun = true;
                largest = value;
                bits = own;
                tap = (unsigned short)(((i0 - start_0) * WINDOW_1 + i1 - start_1) * WINDOW_2 + i2 - start_2);
            }
    y[place] = bits;
    chosen[place] = tap;
}

extern "C" __global__ void nn_max_pool_gradient(
    const Stored* dy, const unsigned short* chosen, Stored* dx, const long long size, const long long channels
) {
    nn_gather_windows(dx, size, channels, [=](long long from, int tap, int, int, int) {
        return chosen[from] == tap ? (Value)LOAD(dy[from]) : (Value)0;
    });
}

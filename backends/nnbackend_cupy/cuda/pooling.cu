// The largest element and the mean of windows, and both ways back. Three axes of space, channels last; SIZE_0 and its
// like are the lengths of the input, COUNT_0 of the output, WINDOW_0, STRIDE_0 and BEFORE_0 those of the windows.
//
// The ways back gather: each element of the input adds up what the windows give that it lies in, in their order. Of
// maxima there is one more that scatters, by atomics.

#define SPACE_OF(place, axis_0, axis_1, axis_2, lengths) \
    const int axis_2 = (int)(place % lengths##_2); \
    const int axis_1 = (int)(place / lengths##_2 % lengths##_1); \
    const int axis_0 = (int)(place / lengths##_2 / lengths##_1 % lengths##_0)

// The windows along one axis that hold a position: the first, and the one behind the last.
__device__ __forceinline__ int nn_first(int position, int window, int stride) {
    return position < window ? 0 : (position - window) / stride + 1;
}
__device__ __forceinline__ int nn_behind(int position, int stride, int count) {
    const int behind = position / stride + 1;
    return behind < count ? behind : count;
}
// The ends of a window within the input.
__device__ __forceinline__ int nn_low(int number, int stride, int before) {
    const int low = number * stride - before;
    return low > 0 ? low : 0;
}
__device__ __forceinline__ int nn_high(int number, int stride, int before, int window, int size) {
    const int high = number * stride - before + window;
    return high < size ? high : size;
}

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

// Add up what the windows give that an element of the input lies in, in their order: part(from, tap, o0, o1, o2), where
// `from` is the place of the window's output and `tap` that of the element in the window.
template <typename Part> __device__ __forceinline__ void nn_gather_windows(
    Stored* dx, const long long size, const long long channels, Part part
) {
    const long long place = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= size) return;
    const long long channel = place % channels;
    const long long position = place / channels;
    SPACE_OF(position, i0, i1, i2, SIZE);
    const long long sample = position / (SIZE_0 * SIZE_1 * SIZE_2);
    const int p0 = i0 + BEFORE_0;
    const int p1 = i1 + BEFORE_1;
    const int p2 = i2 + BEFORE_2;
    Value sum = 0;
    for (int o0 = nn_first(p0, WINDOW_0, STRIDE_0); o0 < nn_behind(p0, STRIDE_0, COUNT_0); ++o0)
        for (int o1 = nn_first(p1, WINDOW_1, STRIDE_1); o1 < nn_behind(p1, STRIDE_1, COUNT_1); ++o1)
            for (int o2 = nn_first(p2, WINDOW_2, STRIDE_2); o2 < nn_behind(p2, STRIDE_2, COUNT_2); ++o2) {
                const int tap = ((p0 - o0 * STRIDE_0) * WINDOW_1 + p1 - o1 * STRIDE_1) * WINDOW_2 + p2 - o2 * STRIDE_2;
                const long long from = (((sample * COUNT_0 + o0) * COUNT_1 + o1) * COUNT_2 + o2) * channels + channel;
                sum += part(from, tap, o0, o1, o2);
            }
    dx[place] = STORE(sum);
}

extern "C" __global__ void nn_max_pool_gradient(
    const Stored* dy, const unsigned short* chosen, Stored* dx, const long long size, const long long channels
) {
    nn_gather_windows(dx, size, channels, [=](long long from, int tap, int, int, int) {
        return chosen[from] == tap ? (Value)LOAD(dy[from]) : (Value)0;
    });
}

// The same without an order: each window adds what it gives to the element that it chose.
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

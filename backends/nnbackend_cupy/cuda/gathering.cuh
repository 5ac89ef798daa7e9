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

// What the kernels of windows share. Three axes of space, channels last; SIZE_0 and its like are the lengths of the input,
// COUNT_0 of the output, WINDOW_0, STRIDE_0 and BEFORE_0 those of the windows.

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

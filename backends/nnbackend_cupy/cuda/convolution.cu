// What the taps of a kernel see, laid out as rows of a matrix, and the way back. Three axes of space, channels last;
// SIZE_0 and its like are the lengths of the input, COUNT_0 of the output, KERNEL_0, STRIDE_0, DILATION_0 and BEFORE_0
// those of the kernel and its windows. A row has, for each of GROUPS groups, WIDTH channels of each tap; behind them it
// is filled up with zeros to ROW elements, so that all rows start at addresses that are easy to load.

#define TAPS (KERNEL_0 * KERNEL_1 * KERNEL_2)

extern "C" __global__ void nn_gather_taps(const Stored* x, Stored* seen, const long long size) {
    const long long place = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= size) return;
    const int element = (int)(place % ROW);
    const int group = (int)(place / ROW % GROUPS);
    const long long position = place / ROW / GROUPS;
    const int channel = element % WIDTH;
    const int tap = element / WIDTH;
    const int o2 = (int)(position % COUNT_2);
    const int o1 = (int)(position / COUNT_2 % COUNT_1);
    const int o0 = (int)(position / COUNT_2 / COUNT_1 % COUNT_0);
    const long long sample = position / (COUNT_0 * COUNT_1 * COUNT_2);
    const int i0 = o0 * STRIDE_0 + tap / (KERNEL_1 * KERNEL_2) * DILATION_0 - (BEFORE_0);
    const int i1 = o1 * STRIDE_1 + tap / KERNEL_2 % KERNEL_1 * DILATION_1 - (BEFORE_1);
    const int i2 = o2 * STRIDE_2 + tap % KERNEL_2 * DILATION_2 - (BEFORE_2);
    const bool there = tap < TAPS && i0 >= 0 && i0 < SIZE_0 && i1 >= 0 && i1 < SIZE_1 && i2 >= 0 && i2 < SIZE_2;
    const long long from = ((sample * SIZE_0 + i0) * SIZE_1 + i1) * SIZE_2 + i2;
    seen[place] = there ? x[from * (GROUPS * WIDTH) + group * WIDTH + channel] : (Stored)0;
}

// Each element of the input adds up what comes from the taps that saw it, in their order.
extern "C" __global__ void nn_add_taps_up(const Stored* seen, Stored* x, const long long size) {
    const long long place = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= size) return;
    const int channel = (int)(place % WIDTH);
    const int group = (int)(place / WIDTH % GROUPS);
    const long long position = place / (GROUPS * WIDTH);
    const int i2 = (int)(position % SIZE_2) + (BEFORE_2);
    const int i1 = (int)(position / SIZE_2 % SIZE_1) + (BEFORE_1);
    const int i0 = (int)(position / SIZE_2 / SIZE_1 % SIZE_0) + (BEFORE_0);
    const long long sample = position / (SIZE_0 * SIZE_1 * SIZE_2);
    Value sum = 0;
    for (int t0 = 0; t0 < KERNEL_0; ++t0) {
        const int d0 = i0 - t0 * DILATION_0;
        if (d0 < 0 || d0 % STRIDE_0 || d0 / STRIDE_0 >= COUNT_0) continue;
        for (int t1 = 0; t1 < KERNEL_1; ++t1) {
            const int d1 = i1 - t1 * DILATION_1;
            if (d1 < 0 || d1 % STRIDE_1 || d1 / STRIDE_1 >= COUNT_1) continue;
            for (int t2 = 0; t2 < KERNEL_2; ++t2) {
                const int d2 = i2 - t2 * DILATION_2;
                if (d2 < 0 || d2 % STRIDE_2 || d2 / STRIDE_2 >= COUNT_2) continue;
                const long long window =
                    ((sample * COUNT_0 + d0 / STRIDE_0) * COUNT_1 + d1 / STRIDE_1) * COUNT_2 + d2 / STRIDE_2;
                const int tap = (t0 * KERNEL_1 + t1) * KERNEL_2 + t2;
                sum += LOAD(seen[(window * GROUPS + group) * ROW + tap * WIDTH + channel]);
            }
        }
    }
    x[place] = STORE(sum);
}

// Rows added up by index, in a fixed order and without atomics: those of each run of equal indices, once they are sorted
// by keys that hold the index above and the place below 32 bits. CHUNK sorted rows are added up at a time.

// Add up the runs within each chunk of sorted rows. A run that is whole there is done; of one that goes beyond, the
// part is kept: beside the chunk's first part where the run begins before the chunk or with it, else as its second.
extern "C" __global__ void nn_sum_chunks(
    const Stored* rows, const unsigned long long* keys, const long long* starts, Stored* sums, Sum* parts,
    const long long count, const long long columns, const long long length
) {
    const long long tiles = (columns + blockDim.x - 1) / blockDim.x;
    const long long chunk = blockIdx.x / tiles;
    const long long column = blockIdx.x % tiles * blockDim.x + threadIdx.x;
    if (column >= columns) return;
    const long long begin = chunk * CHUNK;
    const long long end = begin + CHUNK < count ? begin + CHUNK : count;
    Sum sum = 0;
    for (long long place = begin; place < end; ++place) {
        const long long index = (long long)(keys[place] >> 32);
        if (index >= length) return;
        sum += (Sum)LOAD(rows[(long long)(keys[place] & 0xffffffffULL) * columns + column]);
        if (place + 1 < end && (long long)(keys[place + 1] >> 32) == index) continue;
        const long long start = starts[index];
        if (start >= begin && starts[index + 1] <= end) sums[index * columns + column] = STORE((Value)sum);
        else parts[(2 * chunk + (start > begin)) * columns + column] = sum;
        sum = 0;
    }
}

// Add up the parts of runs that go over several chunks, and write zeros where no row goes.
extern "C" __global__ void nn_sum_parts(
    const long long* starts, const Sum* parts, Stored* sums, const long long columns, const long long size
) {
    const long long place = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= size) return;
    const long long index = place / columns;
    const long long column = place % columns;
    const long long start = starts[index];
    const long long end = starts[index + 1];
    if (start == end) {
        sums[place] = STORE((Value)0);
        return;
    }
    const long long first = start / CHUNK;
    const long long last = (end - 1) / CHUNK;
    if (first == last) return;
    Sum sum = parts[(2 * first + (start > first * CHUNK)) * columns + column];
    for (long long chunk = first + 1; chunk <= last; ++chunk) sum += parts[2 * chunk * columns + column];
    sums[place] = STORE((Value)sum);
}

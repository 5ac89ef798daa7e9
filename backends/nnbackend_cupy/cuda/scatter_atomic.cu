// Rows added up by index, in the order in which they happen to come.

// Add each row to that of its index, in no order; the sums are zeros before. Indices that name no row go nowhere.
extern "C" __global__ void nn_add_rows_atomic(
    const long long* indices, const Stored* rows, Total* sums, const long long size, const long long columns,
    const long long length, const long long wraps
) {
    const long long place = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= size) return;
    long long index = indices[place / columns];
    if (wraps && index < 0) index += length;
    if (index < 0 || index >= length) return;
    nn_add_atomic(sums + (index * columns + place % columns), (Total)LOAD(rows[place]));
}

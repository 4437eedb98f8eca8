// From a camera's pixels to one tile of a model's input in one pass: what stages/prepare.py does with OpenCV.
//
// One thread makes one pixel of the input in all its channels, a warp 32 neighbours of a row. Arithmetic and rounding
// are OpenCV's own, step by step, so that no verdict depends on where the picture was prepared. prepare_kernel.py says
// what each parameter means. No header is needed: nvcc and NVRTC compile this, and for tests so does a C++ compiler.

#ifdef __CUDACC__
#define DEVICE static __device__ __forceinline__
#define SELDOM static __device__ __noinline__  // not on the usual way: called, so that it does not swell the kernel
#define BY_VALUE const __grid_constant__
#define LAUNCHED(threads, blocks) __launch_bounds__(threads, blocks)
#define KERNEL extern "C" __global__
#define UNROLL _Pragma("unroll")
#define PRAGMA(text) _Pragma(#text)
#define UNROLL_BY(times) PRAGMA(unroll (times))
#else
#include <math.h>
#include <stddef.h>
#define DEVICE static inline
#define SELDOM static inline
#define BY_VALUE const
#define LAUNCHED(threads, blocks)
#define KERNEL extern "C"
#define UNROLL
#define UNROLL_BY(times)
struct float2 { float x, y; };
struct Index { unsigned x, y, z; };
static Index blockIdx, threadIdx, blockDim;
template <class T> T __ldg(const T* from) { return *from; }
static int __float2int_rn(float value) { return (int)nearbyintf(value); }
#endif

enum Source { MONO8, MONO12, COLOUR8, MOSAIC8, MOSAIC12 };
enum Sampling { AREA, LINEAR, MAP };
const int BRIGHTEST_12_BIT = 4095, DEEPEST = 8;

struct Parameters {
    int source;
    int width, height, pitch_bytes;
    int red_x, red_y, red_first, planes, reversed;
    int sampling, halvings;
    int origin_x, origin_y, grid_width, grid_height;
    int pad_value, float16, tile;
    int out_width, out_height, left, top, content_width, content_height;
};
static_assert(sizeof(Parameters) == 24 * sizeof(int), "prepare_kernel.PARAMETERS has 24 fields");

struct Camera {
    const Parameters& p;
    const unsigned char* picture;
    unsigned* faults;
};

template <int CHANNELS> struct Pixel { int v[CHANNELS]; };

DEVICE int clamped(int value, int low, int high) { return value < low ? low : value > high ? high : value; }

DEVICE int byte_at(const Camera& camera, int x, int y) {
    return __ldg(camera.picture + (size_t)y * camera.p.pitch_bytes + x);
}

DEVICE int twelve_bits_at(const Camera& camera, int x, int y) {
    const unsigned char* row = camera.picture + (size_t)y * camera.p.pitch_bytes;
    const int value = __ldg(reinterpret_cast<const unsigned short*>(row) + x);
    if (value <= BRIGHTEST_12_BIT) return value;
    *camera.faults = 1;
    return BRIGHTEST_12_BIT;
}

// --- Formats. `at` is one pixel of the picture; `quad` the four from (x, y) on, which must lie in it with MARGIN around
// --- them. A value has SHIFT bits more than eight until it has been sampled.

template <class FORMAT, int CHANNELS> struct Plain {
    DEVICE void quad(const Camera& camera, int x, int y, Pixel<CHANNELS> (&four)[4]) {
        UNROLL
        for (int i = 0; i < 4; ++i) four[i] = FORMAT::at(camera, x + (i & 1), y + (i >> 1));
    }
};

struct Mono8 : Plain<Mono8, 1> {
    static constexpr int CHANNELS = 1, SHIFT = 0, MARGIN = 0;
    DEVICE Pixel<1> at(const Camera& camera, int x, int y) { return {{byte_at(camera, x, y)}}; }
};

struct Mono12 : Plain<Mono12, 1> {
    static constexpr int CHANNELS = 1, SHIFT = 4, MARGIN = 0;
    DEVICE Pixel<1> at(const Camera& camera, int x, int y) { return {{twelve_bits_at(camera, x, y)}}; }
};

struct Colour8 : Plain<Colour8, 3> {
    static constexpr int CHANNELS = 3, SHIFT = 0, MARGIN = 0;
    DEVICE Pixel<3> at(const Camera& camera, int x, int y) {
        return {{byte_at(camera, 3 * x, y), byte_at(camera, 3 * x + 1, y), byte_at(camera, 3 * x + 2, y)}};
    }
};

// One site of a mosaic, and the sums of its neighbours left and right, above and below, and at the four corners.
struct Site { int own, beside, above, corners; bool red_column, red_row; };

DEVICE void interpolate(const Site& s, Pixel<3>& colour) {
    const bool green_site = s.red_column != s.red_row;
    const int of_row = green_site ? (s.beside + 1) >> 1 : s.own;
    const int of_other = green_site ? (s.above + 1) >> 1 : (s.corners + 2) >> 2;
    colour.v[0] = s.red_row ? of_other : of_row;
    colour.v[1] = green_site ? s.own : (s.beside + s.above + 2) >> 2;
    colour.v[2] = s.red_row ? of_row : of_other;
}

// As gray: OpenCV weighs the sums themselves with 14 bits and rounds once.
DEVICE void interpolate(const Site& s, Pixel<1>& gray) {
    const int RED = 4899, GREEN = 9617, BLUE = 1868;
    const int of_row = s.red_row ? RED : BLUE, of_other = s.red_row ? BLUE : RED;
    const int at_green = 4 * GREEN * s.own + 2 * of_row * s.beside + 2 * of_other * s.above;
    const int elsewhere = 4 * of_row * s.own + GREEN * (s.beside + s.above) + of_other * s.corners;
    gray.v[0] = ((s.red_column != s.red_row ? at_green : elsewhere) + (1 << 15)) >> 16;
}

template <int CHANNELS_, bool DEEP> struct Mosaic {
    static constexpr int CHANNELS = CHANNELS_, SHIFT = 0, MARGIN = 1;

    DEVICE int raw(const Camera& camera, int x, int y) {
        return DEEP ? twelve_bits_at(camera, x, y) >> 4 : byte_at(camera, x, y);
    }

    // SIZE x SIZE sites from (x, y) on, and one more all around; all of them in the picture.
    template <int SIZE> DEVICE void sites(const Camera& camera, int x, int y, Pixel<CHANNELS> (&out)[SIZE * SIZE]) {
        int w[SIZE + 2][SIZE + 2];
        UNROLL
        for (int i = 0; i < (SIZE + 2) * (SIZE + 2); ++i) {
            const int column = i % (SIZE + 2), row = i / (SIZE + 2);
            w[row][column] = raw(camera, x - 1 + column, y - 1 + row);
        }
        UNROLL
        for (int i = 0; i < SIZE * SIZE; ++i) {
            const int c = i % SIZE + 1, r = i / SIZE + 1;
            Site site;
            site.own = w[r][c];
            site.beside = w[r][c - 1] + w[r][c + 1];
            site.above = w[r - 1][c] + w[r + 1][c];
            site.corners = w[r - 1][c - 1] + w[r - 1][c + 1] + w[r + 1][c - 1] + w[r + 1][c + 1];
            site.red_column = ((x + c - 1 - camera.p.red_x) & 1) == 0;
            site.red_row = ((y + r - 1 - camera.p.red_y) & 1) == 0;
            interpolate(site, out[i]);
        }
    }

    // OpenCV gives the outermost rows and columns what their neighbours have, and black to what has no inner site.
    SELDOM Pixel<CHANNELS> at(Camera camera, int x, int y) {
        Pixel<CHANNELS> one[1] = {};
        if (camera.p.width > 2 && camera.p.height > 2)
            sites<1>(camera, clamped(x, 1, camera.p.width - 2), clamped(y, 1, camera.p.height - 2), one);
        return one[0];
    }

    DEVICE void quad(const Camera& camera, int x, int y, Pixel<CHANNELS> (&four)[4]) { sites<2>(camera, x, y, four); }
};

// --- The grid: the picture in blocks of 2^halvings pixels, a block worth what OpenCV's repeated halving makes of it.

// Whether `size` x `size` pixels from (x, y) on lie in the picture, with the format's margin.
template <class FORMAT> DEVICE bool framed(const Camera& camera, int x, int y, int size) {
    const int M = FORMAT::MARGIN;
    return x >= M && y >= M && x + size + M <= camera.p.width && y + size + M <= camera.p.height;
}

template <int CHANNELS> DEVICE Pixel<CHANNELS> mean_of(const Pixel<CHANNELS> (&four)[4]) {
    Pixel<CHANNELS> mean;
    UNROLL
    for (int c = 0; c < CHANNELS; ++c) mean.v[c] = (four[0].v[c] + four[1].v[c] + four[2].v[c] + four[3].v[c] + 2) >> 2;
    return mean;
}

template <class FORMAT> DEVICE Pixel<FORMAT::CHANNELS> quad_mean(const Camera& camera, int x, int y) {
    Pixel<FORMAT::CHANNELS> four[4];
    if (framed<FORMAT>(camera, x, y, 2)) {
        FORMAT::quad(camera, x, y, four);
    } else {
        UNROLL
        for (int i = 0; i < 4; ++i) four[i] = FORMAT::at(camera, x + (i & 1), y + (i >> 1));
    }
    return mean_of(four);
}

DEVICE int even_bits(int k) {
    int bits = 0;
    for (int i = 0; i < DEEPEST; ++i) bits |= (k >> i) & (1 << i);
    return bits;
}

// The quads of a block in Z-order: whenever four means of a level are there, their own mean goes one level up.
template <class FORMAT> SELDOM Pixel<FORMAT::CHANNELS> deep_mean(Camera camera, int x, int y) {
    Pixel<FORMAT::CHANNELS> sums[DEEPEST] = {}, mean = {};
    for (int quad = 0; quad < 1 << 2 * (camera.p.halvings - 1); ++quad) {
        mean = quad_mean<FORMAT>(camera, x + 2 * even_bits(quad), y + 2 * even_bits(quad >> 1));
        UNROLL_BY(1)  // in registers the sums would cost every launch a third of its threads
        for (int level = 1; level < camera.p.halvings; ++level) {
            for (int c = 0; c < FORMAT::CHANNELS; ++c) sums[level].v[c] += mean.v[c];
            if ((quad >> 2 * (level - 1) & 3) != 3) break;
            for (int c = 0; c < FORMAT::CHANNELS; ++c) {
                mean.v[c] = (sums[level].v[c] + 2) >> 2;
                sums[level].v[c] = 0;
            }
        }
    }
    return mean;
}

template <class FORMAT> DEVICE Pixel<FORMAT::CHANNELS> block(const Camera& camera, int column, int row) {
    const int halvings = camera.p.halvings;
    const int x = camera.p.origin_x + (column << halvings), y = camera.p.origin_y + (row << halvings);
    if (halvings == 0) return FORMAT::at(camera, x, y);
    if (halvings == 1) return quad_mean<FORMAT>(camera, x, y);
    return deep_mean<FORMAT>(camera, x, y);
}

template <int CHANNELS> struct Corners { Pixel<CHANNELS> four[4]; };

template <class FORMAT> SELDOM Corners<FORMAT::CHANNELS> any_corners(Camera camera, int column, int row) {
    Corners<FORMAT::CHANNELS> found;
    UNROLL_BY(1)
    for (int i = 0; i < 4; ++i)
        found.four[i] = block<FORMAT>(
            camera, clamped(column + (i & 1), 0, camera.p.grid_width - 1),
            clamped(row + (i >> 1), 0, camera.p.grid_height - 1));
    return found;
}

// The four blocks from (column, row) on; instead of one outside the grid, the nearest inside.
template <class FORMAT> DEVICE Corners<FORMAT::CHANNELS> corners(const Camera& camera, int column, int row) {
    const Parameters& p = camera.p;
    const int halvings = p.halvings, x = p.origin_x + column * (1 << halvings), y = p.origin_y + row * (1 << halvings);
    const bool inside = column >= 0 && row >= 0 && column < p.grid_width - 1 && row < p.grid_height - 1;
    if (halvings > 1 || !inside || !framed<FORMAT>(camera, x, y, 2 << halvings))
        return any_corners<FORMAT>(camera, column, row);
    Corners<FORMAT::CHANNELS> found;
    if (halvings == 0) {
        FORMAT::quad(camera, x, y, found.four);
        return found;
    }
    found = {};
    UNROLL_BY(2 - FORMAT::MARGIN)  // 64 sites of a mosaic at once would take the registers of other threads
    for (int down = 0; down <= 2; down += 2) {
        Pixel<FORMAT::CHANNELS> left[4], right[4];
        FORMAT::quad(camera, x, y + down, left);
        FORMAT::quad(camera, x + 2, y + down, right);
        found = {{found.four[2], found.four[3], mean_of(left), mean_of(right)}};
    }
    return found;
}

// --- Sampling: what the content's pixel (x, y) is, in 8 bits.

// Where among the blocks a pixel's centre lies: the block to its upper left, and how far on from that block's centre.
struct Place { int column, row; float right, down; };

// Of output pixel `at` of `out`, among `in`. One float, as in cv2.resize, whose weights have that float's error.
DEVICE float along(int at, int out, int in) { return (float)((2 * at + 1) * in - out) / (float)(2 * out); }

// cv2.resize, INTER_LINEAR, in 8 bits: weights of 11 bits, and cut instead of rounded on the way.
template <int CHANNELS> DEVICE void blend_fixed(const Place& at, Pixel<CHANNELS> (&four)[4]) {
    const int right = __float2int_rn(at.right * 2048.0f), left = __float2int_rn((1.0f - at.right) * 2048.0f);
    const int low = __float2int_rn(at.down * 2048.0f), high = __float2int_rn((1.0f - at.down) * 2048.0f);
    UNROLL
    for (int c = 0; c < CHANNELS; ++c) {
        const int first = (four[0].v[c] * left + four[1].v[c] * right) >> 4;
        const int second = (four[2].v[c] * left + four[3].v[c] * right) >> 4;
        four[0].v[c] = ((high * first >> 16) + (low * second >> 16) + 2) >> 2;
    }
}

// cv2.remap, and cv2.resize in 12 bits.
DEVICE float blend(const Place& at, int a, int b, int c, int d) {
    const float first = (float)a * (1.0f - at.right) + (float)b * at.right;
    const float second = (float)c * (1.0f - at.right) + (float)d * at.right;
    return first * (1.0f - at.down) + second * at.down;
}

template <class FORMAT>
DEVICE Pixel<FORMAT::CHANNELS> interpolated(const Camera& camera, const float2* map, int x, int y) {
    const Parameters& p = camera.p;
    const bool mapped = p.sampling == MAP;
    float2 found;
    if (mapped) {
        found = __ldg(map + (size_t)y * p.content_width + x);
    } else {
        found.x = along(x, p.content_width, p.grid_width);
        found.y = along(y, p.content_height, p.grid_height);
    }
    const float left = floorf(found.x), top = floorf(found.y);
    Place at = {(int)left, (int)top, found.x - left, found.y - top};
    if (!mapped && (at.column < 0 || at.column >= p.grid_width - 1)) at.right = 0.0f;  // only the outermost column counts
    if (!mapped && at.column < 0) at.column = 0;
    Corners<FORMAT::CHANNELS> around = corners<FORMAT>(camera, at.column, at.row);
    Pixel<FORMAT::CHANNELS>(&four)[4] = around.four;
    if (!mapped && FORMAT::SHIFT == 0) {
        blend_fixed(at, four);
        return four[0];
    }
    UNROLL
    for (int i = 0; mapped && i < 4; ++i) {  // outside the camera's picture is the pad value
        const bool inside = (unsigned)(at.column + (i & 1)) < (unsigned)p.grid_width &&
                            (unsigned)(at.row + (i >> 1)) < (unsigned)p.grid_height;
        UNROLL
        for (int c = 0; c < FORMAT::CHANNELS; ++c) four[i].v[c] = inside ? four[i].v[c] >> FORMAT::SHIFT : p.pad_value;
    }
    UNROLL
    for (int c = 0; c < FORMAT::CHANNELS; ++c) {
        const float value = blend(at, four[0].v[c], four[1].v[c], four[2].v[c], four[3].v[c]);
        four[0].v[c] = mapped ? (int)floorf(value + 0.5f) : __float2int_rn(value) >> FORMAT::SHIFT;
    }
    return four[0];
}

// cv2.resize, INTER_AREA: the mean of what the pixel covers, in units of 1/content of a block. Of a grid that has the
// content's own size, the block itself.
template <class FORMAT> DEVICE Pixel<FORMAT::CHANNELS> covered(const Camera& camera, int x, int y) {
    const Parameters& p = camera.p;
    const int first_x = x * p.grid_width, last_x = first_x + p.grid_width;
    const int first_y = y * p.grid_height, last_y = first_y + p.grid_height;
    float sums[FORMAT::CHANNELS] = {};
    for (int row = first_y / p.content_height; row * p.content_height < last_y; ++row) {
        int of_row[FORMAT::CHANNELS] = {};
        for (int column = first_x / p.content_width; column * p.content_width < last_x; ++column) {
            const int begin = column * p.content_width, end = begin + p.content_width;
            const int columns = (end < last_x ? end : last_x) - (begin > first_x ? begin : first_x);
            const Pixel<FORMAT::CHANNELS> value = block<FORMAT>(camera, column, row);
            UNROLL
            for (int c = 0; c < FORMAT::CHANNELS; ++c) of_row[c] += columns * value.v[c];
        }
        const int begin = row * p.content_height, end = begin + p.content_height;
        const int rows = (end < last_y ? end : last_y) - (begin > first_y ? begin : first_y);
        UNROLL
        for (int c = 0; c < FORMAT::CHANNELS; ++c) sums[c] += (float)of_row[c] * (float)rows;
    }
    Pixel<FORMAT::CHANNELS> mean;
    UNROLL
    for (int c = 0; c < FORMAT::CHANNELS; ++c)
        mean.v[c] = __float2int_rn(sums[c] / ((float)p.grid_width * (float)p.grid_height)) >> FORMAT::SHIFT;
    return mean;
}

// --- The output: its planes are the values, or their gray by cvtColor's weights of 15 bits, through the table.

DEVICE Pixel<3> spread(const Pixel<1>& gray, const Parameters&) { return {{gray.v[0], gray.v[0], gray.v[0]}}; }

DEVICE Pixel<3> spread(const Pixel<3>& colour, const Parameters& p) {
    const int first = colour.v[0], green = colour.v[1], last = colour.v[2];
    if (p.planes == 3) return p.reversed ? Pixel<3>{{last, green, first}} : colour;
    const int red = p.red_first ? first : last, blue = p.red_first ? last : first;
    return {{(3735 * blue + 19235 * green + 9798 * red + (1 << 14)) >> 15, 0, 0}};
}

template <class FORMAT> DEVICE Pixel<3> content(const Camera& camera, const float2* map, int x, int y) {
    const bool area = camera.p.sampling == AREA;
    return spread(area ? covered<FORMAT>(camera, x, y) : interpolated<FORMAT>(camera, map, x, y), camera.p);
}

DEVICE Pixel<3> content_of(const Camera& camera, const float2* map, int x, int y) {
    const bool gray = camera.p.planes == 1;
    switch (camera.p.source) {
        case MONO8: return content<Mono8>(camera, map, x, y);
        case MONO12: return content<Mono12>(camera, map, x, y);
        case COLOUR8: return content<Colour8>(camera, map, x, y);
        case MOSAIC8:
            return gray ? content<Mosaic<1, false>>(camera, map, x, y) : content<Mosaic<3, false>>(camera, map, x, y);
        default:
            return gray ? content<Mosaic<1, true>>(camera, map, x, y) : content<Mosaic<3, true>>(camera, map, x, y);
    }
}

template <class ELEMENT>
DEVICE void store(const Parameters& p, const Pixel<3>& value, int x, int y, const void* table, void* output) {
    const size_t plane = (size_t)p.out_height * p.out_width;
    ELEMENT* to = static_cast<ELEMENT*>(output) + p.tile * p.planes * plane + (size_t)y * p.out_width + x;
    UNROLL
    for (int c = 0; c < 3; ++c)
        if (c < p.planes) to[c * plane] = __ldg(static_cast<const ELEMENT*>(table) + 256 * c + value.v[c]);
}

KERNEL LAUNCHED(128, 6) void edge_inspector_prepare(
    BY_VALUE Parameters p, const unsigned char* picture, const float2* map, const void* table, void* output,
    unsigned* faults) {
    const int x = (int)(blockIdx.x * blockDim.x + threadIdx.x), y = (int)(blockIdx.y * blockDim.y + threadIdx.y);
    if (x >= p.out_width || y >= p.out_height) return;
    const int column = x - p.left, row = y - p.top;
    Pixel<3> value = {{p.pad_value, p.pad_value, p.pad_value}};
    if (column >= 0 && row >= 0 && column < p.content_width && row < p.content_height)
        value = content_of({p, picture, faults}, map, column, row);
    // elements are copied as the bits they are: half floats were rounded by the host
    if (p.float16)
        store<unsigned short>(p, value, x, y, table, output);
    else
        store<unsigned>(p, value, x, y, table, output);
}

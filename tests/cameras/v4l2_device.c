/* A V4L2 device for programs that preload this library: /dev/video70 gives a gray picture each period, its number its
 * gray value, as a USB camera's driver does (uvcvideo): buffers are filled in turn, stamped with CLOCK_MONOTONIC; when
 * none is free the picture is lost. The descriptor is a timerfd, so select() and poll() are the kernel's own.
 * V4L2_PERIOD_MS: the period. V4L2_LAST: the last picture's number; none comes after it. V4L2_GONE: while this file
 * exists the device is unplugged. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { WIDTH = 64, HEIGHT = 48, BUFFERS = 8, BYTES = WIDTH * HEIGHT };
#define DEVICE "/dev/video70"

static int device = -1, streaming;
static unsigned count;
static uint8_t *memory[BUFFERS];
static struct v4l2_buffer filled[BUFFERS];
static int queued[BUFFERS], queued_n, done[BUFFERS], done_n;
static int64_t next_ns, number;
static int exposure = 100, automatic = 3;

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}
static int64_t period_ns(void) {
  const char *text = getenv("V4L2_PERIOD_MS");
  return (text ? atoll(text) : 40) * 1000000LL;
}
static int is_last(void) {
  const char *text = getenv("V4L2_LAST");
  return text && number >= atoll(text);
}
static int is_gone(void) {
  const char *path = getenv("V4L2_GONE");
  return path && access(path, F_OK) == 0;
}
static int fail(int error) {
  errno = error;
  return -1;
}

/* Readable at once while a filled buffer waits, else when the next picture is due. */
static void arm(void) {
  int64_t at = done_n ? 1 : next_ns;
  struct itimerspec timer = {.it_value = {at / 1000000000LL, at % 1000000000LL}};
  if (!streaming || (is_last() && !done_n)) timer.it_value.tv_sec = timer.it_value.tv_nsec = 0;
  timerfd_settime(device, TFD_TIMER_ABSTIME, &timer, NULL);
}

static void take_pictures(void) {
  for (int64_t now = now_ns(); streaming && next_ns <= now; next_ns += period_ns()) {
    if (is_last()) continue;
    number++;
    if (!queued_n) continue;
    int i = queued[0];
    memmove(queued, queued + 1, --queued_n * sizeof *queued);
    memset(memory[i], (int)(number % 256), BYTES);
    filled[i].timestamp.tv_sec = next_ns / 1000000000LL;
    filled[i].timestamp.tv_usec = next_ns % 1000000000LL / 1000;
    filled[i].sequence = (unsigned)number;
    done[done_n++] = i;
  }
}

static int dequeue(struct v4l2_buffer *wanted) {
  take_pictures();
  if (!done_n) {
    arm();
    return fail(EAGAIN);
  }
  *wanted = filled[done[0]];
  memmove(done, done + 1, --done_n * sizeof *done);
  arm();
  return 0;
}

static int format(struct v4l2_format *f) {
  f->fmt.pix.width = WIDTH;
  f->fmt.pix.height = HEIGHT;
  f->fmt.pix.pixelformat = V4L2_PIX_FMT_GREY;
  f->fmt.pix.bytesperline = WIDTH;
  f->fmt.pix.sizeimage = BYTES;
  return 0;
}

static int control(struct v4l2_control *c, int set) {
  int *value = c->id == V4L2_CID_EXPOSURE_ABSOLUTE ? &exposure : c->id == V4L2_CID_EXPOSURE_AUTO ? &automatic : NULL;
  if (!value) return fail(EINVAL);
  if (set && value == &exposure && automatic != 1) return fail(EACCES);
  if (set && value == &exposure && c->value > 5000) c->value = 5000;
  if (set) *value = c->value; else c->value = *value;
  return 0;
}

static int answer(unsigned long request, void *argument) {
  if (is_gone()) return fail(ENODEV);
  struct v4l2_buffer *b = argument;
  struct v4l2_queryctrl *q = argument;
  switch (request) {
    case VIDIOC_QUERYCAP:
      memset(argument, 0, sizeof(struct v4l2_capability));
      ((struct v4l2_capability *)argument)->capabilities = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
      return 0;
    case VIDIOC_G_FMT: case VIDIOC_S_FMT: return format(argument);
    case VIDIOC_G_PARM: case VIDIOC_S_PARM:
      ((struct v4l2_streamparm *)argument)->parm.capture.timeperframe = (struct v4l2_fract){period_ns() / 1000000, 1000};
      return 0;
    case VIDIOC_REQBUFS:
      count = ((struct v4l2_requestbuffers *)argument)->count;
      if (count > BUFFERS) count = ((struct v4l2_requestbuffers *)argument)->count = BUFFERS;
      queued_n = done_n = 0;
      return 0;
    case VIDIOC_QUERYBUF:
      b->length = BYTES;
      b->m.offset = b->index * 4096;
      return 0;
    case VIDIOC_QBUF:
      take_pictures();
      filled[b->index] = *b;
      filled[b->index].length = filled[b->index].bytesused = BYTES;
      queued[queued_n++] = (int)b->index;
      return 0;
    case VIDIOC_DQBUF: return dequeue(b);
    case VIDIOC_STREAMON:
      streaming = 1;
      next_ns = now_ns() + period_ns();
      arm();
      return 0;
    case VIDIOC_STREAMOFF:
      streaming = queued_n = done_n = 0;
      return 0;
    case VIDIOC_QUERYCTRL:
      if (q->id != V4L2_CID_EXPOSURE_ABSOLUTE && q->id != V4L2_CID_EXPOSURE_AUTO) return fail(EINVAL);
      q->minimum = 1;
      q->maximum = 5000;
      return 0;
    case VIDIOC_G_CTRL: return control(argument, 0);
    case VIDIOC_S_CTRL: return control(argument, 1);
    default: return fail(EINVAL);
  }
}

static int opened(const char *path) {
  if (strcmp(path, DEVICE) != 0) return -2;
  if (is_gone()) return fail(ENODEV);
  return device = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
}
int open(const char *path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  int mode = va_arg(list, int), ours = opened(path);
  va_end(list);
  return ours != -2 ? ours : ((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open"))(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  int mode = va_arg(list, int), ours = opened(path);
  va_end(list);
  return ours != -2 ? ours : ((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64"))(path, flags, mode);
}
int ioctl(int fd, unsigned long request, ...) {
  va_list list;
  va_start(list, request);
  void *argument = va_arg(list, void *);
  va_end(list);
  if (fd == device && fd >= 0) return answer(request, argument);
  return ((int (*)(int, unsigned long, void *))dlsym(RTLD_NEXT, "ioctl"))(fd, request, argument);
}
static void *mapped(off_t offset, size_t length) {
  void *(*map)(void *, size_t, int, int, int, off_t) = dlsym(RTLD_NEXT, "mmap");
  return memory[offset / 4096] = map(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}
void *mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset) {
  if (fd == device && fd >= 0) return mapped(offset, length);
  return ((void *(*)(void *, size_t, int, int, int, off_t))dlsym(RTLD_NEXT, "mmap"))(at, length, protection, flags, fd, offset);
}
void *mmap64(void *at, size_t length, int protection, int flags, int fd, off_t offset) {
  return mmap(at, length, protection, flags, fd, offset);
}

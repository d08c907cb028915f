/* The only file that knows MPI. */
#include "tulle/comm/mpi_plugin.h"

#include <mpi.h>
#include <stdlib.h>

/* MPI counts in int: longer messages go in pieces. */
enum { PIECE = 1 << 30 };

enum { MESSAGE, WORD }; /* tags */

struct transfer {
  int pieces;
  MPI_Request requests[];
};

static struct tulle_mpi self;

/* MPI_Isend and MPI_Irecv, with one type for both kinds of buffer. */
typedef int post(void* bytes, int length, int peer, MPI_Request* request);

static int post_send(void* bytes, int length, int peer, MPI_Request* request) {
  return MPI_Isend(bytes, length, MPI_BYTE, peer, MESSAGE, MPI_COMM_WORLD, request);
}
static int post_receive(void* bytes, int length, int peer, MPI_Request* request) {
  return MPI_Irecv(bytes, length, MPI_BYTE, peer, MESSAGE, MPI_COMM_WORLD, request);
}

static void* start(post* post, void* bytes, size_t count, int peer) {
  const int pieces = count == 0 ? 1 : (int)((count + PIECE - 1) / PIECE);
  struct transfer* transfer = malloc(sizeof *transfer + (size_t)pieces * sizeof(MPI_Request));
  if (transfer == NULL) return NULL;
  transfer->pieces = pieces;
  for (int i = 0; i < pieces; ++i) {
    const size_t begin = (size_t)i * PIECE;
    const int length = (int)(count - begin < PIECE ? count - begin : PIECE);
    if (post((char*)bytes + begin, length, peer, &transfer->requests[i]) != MPI_SUCCESS) return NULL;
  }
  return transfer;
}

static void* start_send(int to, const void* bytes, size_t count) {
  return start(post_send, (void*)bytes, count, to);
}
static void* start_receive(int from, void* bytes, size_t count) {
  return start(post_receive, bytes, count, from);
}

static int test(void* pointer) {
  struct transfer* transfer = pointer;
  int done = 0;
  if (MPI_Testall(transfer->pieces, transfer->requests, &done, MPI_STATUSES_IGNORE) != MPI_SUCCESS) return -1;
  if (done) free(transfer);
  return done ? 1 : 0;
}

/* Buffered, so that it never waits; without room the word is lost, and others do not know that it takes longer. */
static void tell(double seconds) {
  for (int peer = 0; peer < self.size; ++peer)
    if (peer != self.rank) MPI_Bsend(&seconds, 1, MPI_DOUBLE, peer, WORD, MPI_COMM_WORLD);
}

static int hear(int* from, double* seconds) {
  int there = 0;
  MPI_Status status;
  if (MPI_Iprobe(MPI_ANY_SOURCE, WORD, MPI_COMM_WORLD, &there, &status) != MPI_SUCCESS || !there) return 0;
  *from = status.MPI_SOURCE;
  return MPI_Recv(seconds, 1, MPI_DOUBLE, *from, WORD, MPI_COMM_WORLD, MPI_STATUS_IGNORE) == MPI_SUCCESS;
}

static void end_all(int exit_code) { MPI_Abort(MPI_COMM_WORLD, exit_code); }
static void close_mpi(void) { MPI_Finalize(); }

const struct tulle_mpi* tulle_mpi_open(void) {
  int provided = 0;
  if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS ||
      provided < MPI_THREAD_FUNNELED)
    return NULL;
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  MPI_Comm local;
  MPI_Comm_rank(MPI_COMM_WORLD, &self.rank);
  MPI_Comm_size(MPI_COMM_WORLD, &self.size);
  MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, self.rank, MPI_INFO_NULL, &local);
  MPI_Comm_size(local, &self.local_size);
  MPI_Comm_free(&local);
  const int room = 8 * self.size * ((int)sizeof(double) + MPI_BSEND_OVERHEAD);
  MPI_Buffer_attach(malloc((size_t)room), room);
  self.version = TULLE_MPI_VERSION;
  self.send = start_send;
  self.receive = start_receive;
  self.test = test;
  self.tell = tell;
  self.hear = hear;
  self.abort = end_all;
  self.close = close_mpi;
  return &self;
}

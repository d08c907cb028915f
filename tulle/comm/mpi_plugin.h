#pragma once

/* What libtulle_mpi.so offers, in C, so that neither the MPI library's headers nor its ABI reach the rest of
   tulle. All functions are for the thread that called tulle_mpi_open(). */

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { TULLE_MPI_VERSION = 2 };

struct tulle_mpi {
  int version; /* TULLE_MPI_VERSION */
  int rank, size;
  int local_size; /* ranks on this machine */
  /* A message of any length; null if MPI refuses. `bytes` stay until test() says 1. */
  void* (*send)(int to, const void* bytes, size_t count);
  void* (*receive)(int from, void* bytes, size_t count);
  /* 1: done, and `transfer` is gone; 0: not yet; -1: it failed. */
  int (*test)(void* transfer);
  void (*tell)(double seconds);            /* a number for every other rank, who need not wait for it */
  int (*hear)(int* from, double* seconds); /* 1: the next one that came; 0: there is none */
  void (*abort)(int exit_code);            /* ends every rank; does not return */
  void (*close)(void);                     /* after the last message, by every rank */
};

/* Starts MPI; null if it cannot. */
const struct tulle_mpi* tulle_mpi_open(void);

#ifdef __cplusplus
}
#endif

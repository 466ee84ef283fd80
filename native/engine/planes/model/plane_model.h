/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plane_model.h - a data plane without a kernel. A test copies plane_model, gives it the functions that it wants to be
 * called, and its worker the plane. What it does not give ends the program.
 */
#ifndef FTTCP_PLANE_MODEL_H
#define FTTCP_PLANE_MODEL_H
#include "engine/planes/plane.h"

/* Bare segments are built, and handed to `now` (to a client) or `small` (to our stack). */
extern const struct ftt_plane_ops plane_model;

#endif

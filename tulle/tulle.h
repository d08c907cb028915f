#pragma once

/// Everything a user of the library needs.
#include "tulle/base/error.h"
#include "tulle/checkpoint/model_file.h"
#include "tulle/data/load.h"
#include "tulle/export/formats.h"
#include "tulle/recover/recovery.h"
#include "tulle/recover/task.h"
#include "tulle/train/predictor.h"
#include "tulle/train/train.h"
#include "tulle/version.h"

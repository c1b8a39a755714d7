/// @file
/// Python values into objects and out of them.
#pragma once

#include <Python.h>

#include <cstdint>

#include "codec.h"
#include "session.h"

namespace haz::py {

/// Place of an encoded value, ready for Client::put or RingClient::finish. `encoder` must stay as
/// it is meanwhile.
struct StoredValue {
  NewValue value;
  StoreBlock block;  ///< When value.offset != 0.
};

/// Puts what `encoder` holds where an object's value belongs: near if it is small, else into the
/// arena. May let go of the GIL. False with a Python error.
bool store_encoded(Session& session, Encoder& encoder, StoredValue& out,
                   StoreUse use = StoreUse::kValue);

/// Encodes `value` and puts it as a new object: an error's dictionary if `is_error`. Its id; none
/// with a Python error.
ObjectId put_value(Session& session, PyObject* value, bool is_error = false);

/// Decodes one value. `owner`: keeps the bytes, or nullptr to copy. New reference.
PyObject* decode_value(const std::byte* bytes, std::size_t size, PyObject* owner);

/// Decodes a fetched value, taking over its pin. An error value is returned as the dictionary.
PyObject* decode_fetched(Session& session, const FetchedValues& fetched, const FetchedValue& value);

/// Of the exception that is set, which decoding a value has raised, makes one that names the value:
/// the object `id`, or, of a task, its argument (a place or a keyword; else nullptr).
void name_undecodable(Session& session, ObjectId id, PyObject* argument, PyObject* task_name);

/// The dictionary that unpack_error() takes, of an error value. New reference, or nullptr with a
/// Python error.
PyObject* decode_error(const std::byte* bytes, std::size_t size);

/// Raises what an error value stands for: a dictionary, and the names of tasks that it went
/// through.
void raise_error_value(const std::byte* bytes, std::size_t size);

/// Copies of the codec: parallel, and careful with memory that has no pages yet.
void copy_far_buffer(void* to, const void* from, std::size_t size_bytes);

}  // namespace haz::py

/// @file
/// A doubly linked list through members of its elements: no allocation, removal in O(1).
#pragma once

#include <cstddef>

namespace haz {

/// The links of one element. An element is in at most one list of a kind at a time.
template <typename T>
struct Link {
  T* previous = nullptr;
  T* next = nullptr;
};

/// List of `T`s linked by `Member`. Does not own them. Not thread-safe.
template <typename T, Link<T> T::* Member>
class List {
 public:
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] T* front() const { return front_; }
  [[nodiscard]] T* back() const { return back_; }
  static T* next(const T* item) { return (item->*Member).next; }
  static T* previous(const T* item) { return (item->*Member).previous; }

  void push_back(T* item) {
    (item->*Member) = Link<T>{back_, nullptr};
    (back_ != nullptr ? (back_->*Member).next : front_) = item;
    back_ = item;
    ++size_;
  }

  void push_front(T* item) {
    (item->*Member) = Link<T>{nullptr, front_};
    (front_ != nullptr ? (front_->*Member).previous : back_) = item;
    front_ = item;
    ++size_;
  }

  /// Puts `item` before `position`, an element, or at the end when that is nullptr.
  void insert_before(T* position, T* item) {
    if (position == nullptr) {
      push_back(item);
      return;
    }
    T* previous = (position->*Member).previous;
    (item->*Member) = Link<T>{previous, position};
    (previous != nullptr ? (previous->*Member).next : front_) = item;
    (position->*Member).previous = item;
    ++size_;
  }

  void remove(T* item) {
    Link<T>& link = item->*Member;
    (link.previous != nullptr ? (link.previous->*Member).next : front_) = link.next;
    (link.next != nullptr ? (link.next->*Member).previous : back_) = link.previous;
    link = Link<T>{};
    --size_;
  }

 private:
  T* front_ = nullptr;
  T* back_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace haz

#include <algorithm>
#include <cctype>
#include <charconv>
#include <set>
#include <sstream>
#include <string_view>

#include "config/json.h"
#include "config/text.h"
#include "core/error.h"

namespace sgdscope {
namespace {

// No config nests deeper, and what copies and prints JSON does it recursively.
constexpr int kMaxDepth = 64;
// No object of a config has more keys, and nlohmann's ordered objects look for each new key among
// all earlier ones.
constexpr size_t kMaxKeys = 1000;
// Room for lists of a million numbers; of more, a network is built for minutes before it is refused.
constexpr size_t kMaxBytes = size_t{4} << 20;
// An override may extend a list by one element only, so no index is longer.
constexpr size_t kMaxIndexDigits = 9;

// "file:line:column" of a byte of the text, both counted from 1.
std::string Position(const std::string& where, std::string_view text, size_t byte) {
  const std::string_view before = text.substr(0, byte);
  const auto line = 1 + std::ranges::count(before, '\n');
  const size_t line_start = before.rfind('\n') + 1;  // npos + 1 is 0
  return where + ":" + std::to_string(line) + ":" + std::to_string(byte - line_start + 1);
}

// The reason within "[json.exception.parse_error.101] parse error at line 1, column 2: reason".
std::string Reason(const Json::exception& error) {
  std::string text = error.what();
  text.erase(0, text.find("] ") + 2);
  if (text.starts_with("parse error")) text.erase(0, text.find(": ") + 2);
  return text.substr(0, 300);  // it quotes what it read last, of whatever length
}

/// Refuses, while nlohmann's parser runs, what JSON allows and a config should not hold.
class StrictCallback {
 public:
  StrictCallback(const std::string& where, const std::string& text, std::istream& stream)
      : where_(where), text_(text), stream_(stream) {}

  bool operator()(int depth, Json::parse_event_t event, const Json& parsed) {
    if (depth > kMaxDepth) {
      Fail("more than " + std::to_string(kMaxDepth) + " levels of nesting", "");
    }
    if (event == Json::parse_event_t::object_start) keys_.emplace_back();
    if (event == Json::parse_event_t::object_end) keys_.pop_back();
    if (event == Json::parse_event_t::key) AddKey(parsed);
    if (event == Json::parse_event_t::value && parsed.is_number_float() && parsed == 0.0) {
      CheckZero();
    }
    return true;
  }

  /// An error at the byte that was read last.
  [[noreturn]] void Fail(const std::string& what, const std::string& hint) const {
    throw Error(ErrorKind::kConfig, Position(where_, text_, BytesRead() - 1), what, hint);
  }

 private:
  size_t BytesRead() const {
    return static_cast<size_t>(stream_.rdbuf()->pubseekoff(0, std::ios::cur, std::ios::in));
  }

  void AddKey(const Json& key) {
    if (!keys_.back().insert(key.get<std::string>()).second) {
      Fail("the key " + ShortText(key) + " is given twice in one object", "Remove one of them.");
    }
    if (keys_.back().size() <= kMaxKeys) return;
    Fail("more than " + std::to_string(kMaxKeys) + " keys in one object",
         "No object of a config has so many: is this the right file?");
  }

  // The number that was read last has become 0: it must be written as a 0.
  void CheckZero() const {
    const size_t last = text_.find_last_of("0123456789", BytesRead() - 1);
    const size_t begin = text_.find_last_not_of("0123456789+-.eE", last) + 1;  // npos + 1 is 0
    const std::string number = text_.substr(begin, last + 1 - begin);
    if (number.find_first_of("123456789") >= number.find_first_of("eE")) return;
    Fail("the number " + ShortText(number) + " is too close to 0 to be told from it",
         "Write 0, or a number of 1e-307 or more.");
  }

  const std::string& where_;
  const std::string& text_;
  std::istream& stream_;
  std::vector<std::set<std::string>> keys_;  // of the objects that are open
};

// Throws Error for what a config may not hold, and Json::parse_error for what is not JSON.
Json ParseStrictly(const std::string& text, const std::string& where, bool comments) {
  if (text.size() > kMaxBytes) {
    throw Error(ErrorKind::kConfig, where.substr(0, 200),
                std::to_string(text.size()) + " bytes, but a config has at most " +
                    std::to_string(kMaxBytes),
                "Is this the right file?");
  }
  const size_t nul = text.find('\0');
  if (nul != std::string::npos) {  // the parser would take it for the end and skip what follows
    throw Error(ErrorKind::kConfig, Position(where, text, nul), "a NUL character",
                "The file is damaged or is no text file.");
  }
  std::istringstream stream(text);
  const StrictCallback callback(where, text, stream);
  try {
    return Json::parse(stream, callback, true, comments);
  } catch (const Json::out_of_range& error) {  // a number that no double can hold
    callback.Fail(Reason(error), "Write a smaller number.");
  }
}

// JSON holds UTF-8 only: other bytes would make a config that cannot be written.
void CheckUtf8(const std::string& assignment) {
  try {
    (void)Json(assignment).dump();
  } catch (const Json::type_error&) {
    throw Error(ErrorKind::kConfig, "--set " + ShortText(assignment), "is not valid UTF-8",
                "Look for unusual characters.");
  }
}

// A value that is not JSON is a plain string: --set data.path=mnist.
Json OverrideValue(const std::string& text, const std::string& assignment) {
  try {
    return ParseStrictly(text, assignment, false);
  } catch (const Json::parse_error&) {
    return text;
  }
}

/// Walks along "probes[0].every" and makes what is missing.
class PathWalker {
 public:
  PathWalker(Json& config, const std::string& assignment, const std::string& path)
      : node_(&config), assignment_(assignment), rest_(path) {}

  Json& Walk() {
    TakeKey();
    while (!rest_.empty()) {
      const char next = rest_.front();
      rest_.remove_prefix(1);
      if (next == '.') {
        TakeKey();
      } else if (next == '[') {
        TakeIndex();
      } else {
        Fail("'.' or '[' is expected after '" + done_ + "'");
      }
    }
    return *node_;
  }

  /// Takes out the key that Walk came to; an element of a list stays. Whether it was a key.
  bool Erase() {
    if (object_ == nullptr) return false;
    object_->erase(key_);
    return true;
  }

 private:
  [[noreturn]] void Fail(const std::string& what) const {
    throw Error(ErrorKind::kConfig, "--set " + assignment_, what,
                "Write KEY=VALUE, KEY.KEY=VALUE or KEY[INDEX]=VALUE.");
  }

  // What stands here must be of this type; where nothing stands yet, it becomes one.
  void Enter(bool is_type, Json empty, const std::string& type) {
    if (++depth_ > kMaxDepth) Fail("more than " + std::to_string(kMaxDepth) + " levels of nesting");
    if (is_new_) *node_ = std::move(empty);
    if (is_new_ || is_type) return;
    throw Error(
        ErrorKind::kConfig, "--set " + assignment_,
        (done_.empty() ? "the config" : done_) + " is " + ShortText(*node_) + ", not " + type,
        "Set the whole of it, as JSON.");
  }

  void TakeKey() {
    const std::string key(rest_.substr(0, rest_.find_first_of(".[]")));
    if (key.empty()) {
      Fail(done_.empty() ? "a key is missing at its beginning"
                         : "a key is missing after '" + done_ + "'");
    }
    rest_.remove_prefix(key.size());
    Enter(node_->is_object(), Json::object(), "an object");
    is_new_ = !node_->contains(key);
    object_ = node_;
    key_ = key;
    node_ = &(*node_)[key];
    done_ = JoinPath(done_, key);
  }

  void TakeIndex() {
    const size_t end = rest_.find(']');
    const std::string digits(rest_.substr(0, end));
    const bool all_digits = std::ranges::all_of(digits, [](unsigned char c) { return isdigit(c); });
    if (end == std::string::npos || digits.empty() || !all_digits ||
        digits.size() > kMaxIndexDigits) {
      Fail("an index like [0] is expected after '" + done_ + "'");
    }
    rest_.remove_prefix(end + 1);
    Enter(node_->is_array(), Json::array(), "a list");
    const size_t index = std::stoul(digits);
    if (index > node_->size()) {
      Fail(done_ + " has " + std::to_string(node_->size()) + " elements, so the next is [" +
           std::to_string(node_->size()) + "]");
    }
    is_new_ = index == node_->size();
    if (is_new_) node_->push_back(nullptr);
    object_ = nullptr;
    node_ = &(*node_)[index];
    done_ += "[" + digits + "]";
  }

  Json* node_;
  Json* object_ = nullptr;  // that has node_ as the value of key_
  std::string key_;
  const std::string& assignment_;
  std::string_view rest_;
  std::string done_;
  int depth_ = 0;
  bool is_new_ = false;
};

}  // namespace

Json ParseConfig(const std::string& text, const std::string& where) {
  try {
    return ParseStrictly(text, where, true);
  } catch (const Json::parse_error& error) {
    throw Error(ErrorKind::kConfig, Position(where, text, error.byte == 0 ? 0 : error.byte - 1),
                Reason(error), "Look for a missing or superfluous comma, quote or bracket.");
  }
}

void ApplyOverride(Json& config, const std::string& assignment) {
  const size_t equals = assignment.find('=');
  if (equals == std::string::npos) {
    throw Error(ErrorKind::kConfig, "--set " + assignment, "no '=' in it",
                "Write KEY=VALUE, as in update.learning_rate=0.1.");
  }
  CheckUtf8(assignment);
  if (equals + 1 == assignment.size()) {
    throw Error(ErrorKind::kConfig, "--set " + assignment, "the value is empty",
                "Is a shell variable unset? An empty string is written '" + assignment + "\"\"'.");
  }
  const std::string path = assignment.substr(0, equals);
  Json value = OverrideValue(assignment.substr(equals + 1), "--set " + assignment);
  PathWalker walker(config, assignment, path);
  Json& place = walker.Walk();
  if (!value.is_null() || !walker.Erase()) place = std::move(value);
}

}  // namespace sgdscope

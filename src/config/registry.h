#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "config/fields.h"

namespace sgdscope {

/// Fields, as JSON, that the tests of all leaves give to one of them, over its defaults.
struct TestFields {
  std::string base = "{}";                 // where the defaults don't suit a small, short run
  std::vector<std::string> variants = {};  // each over `base`, where it takes another path
};

/// All leaves of one interface by name. A leaf file ends in
///   const Registration<Probe, Taylor> kRegistration("taylor", "what it measures");
template <class Interface>
class Registry {
 public:
  struct Entry {
    std::string help;
    std::function<std::unique_ptr<Interface>()> make;
    TestFields tests;
  };

  static std::map<std::string, Entry>& entries() {
    static std::map<std::string, Entry> entries;
    return entries;
  }
};

template <class Interface, class Leaf>
class Registration {
 public:
  Registration(const std::string& name, const std::string& help, const TestFields& tests = {}) {
    Registry<Interface>::entries()[name] = {help, [] { return std::make_unique<Leaf>(); }, tests};
  }
};

/// A config value that holds one leaf of `Interface`, picked by its key `name`.
template <class Interface>
class Choice : public AnyChoice {
 public:
  /// `shorthand`: what a bare number in place of the object stands for.
  explicit Choice(Shorthand shorthand = {}) : shorthand_(std::move(shorthand)) {}
  /// A choice with a default leaf.
  explicit Choice(const std::string& name, Shorthand shorthand = {})
      : shorthand_(std::move(shorthand)) {
    Select(name);
  }

  std::vector<std::string> names() const override {
    std::vector<std::string> names;
    for (const auto& [name, entry] : Registry<Interface>::entries()) names.push_back(name);
    return names;
  }
  std::string HelpOf(const std::string& name) const override {
    return Registry<Interface>::entries().at(name).help;
  }
  std::unique_ptr<Configurable> MakeDefault(const std::string& name) const override {
    return Registry<Interface>::entries().at(name).make();
  }
  void Select(const std::string& name) override {
    leaf_ = Registry<Interface>::entries().at(name).make();
    name_ = name;
  }
  const std::string& selected() const override { return name_; }
  Interface& leaf() override { return *leaf_; }
  Shorthand shorthand() const override { return shorthand_; }

  Interface& operator*() const { return *leaf_; }
  Interface* operator->() const { return leaf_.get(); }

 private:
  Shorthand shorthand_;
  std::string name_;
  std::unique_ptr<Interface> leaf_;
};

template <class Interface>
class ChoiceList : public AnyChoiceList {
 public:
  AnyChoice& Append() override {
    choices_.push_back(std::make_unique<Choice<Interface>>());
    return *choices_.back();
  }
  std::vector<AnyChoice*> items() override {
    std::vector<AnyChoice*> items;
    for (const auto& choice : choices_) items.push_back(choice.get());
    return items;
  }
  void Clear() override { choices_.clear(); }
  std::unique_ptr<AnyChoice> MakeEmpty() const override {
    return std::make_unique<Choice<Interface>>();
  }

  const std::vector<std::unique_ptr<Choice<Interface>>>& choices() const { return choices_; }

 private:
  std::vector<std::unique_ptr<Choice<Interface>>> choices_;
};

}  // namespace sgdscope
